//! Notes on data, each reason printed once.

use std::collections::BTreeSet;

/// Merges notes that differ only in the validation share: `no scores at validation shares 1%, 2%: ...`.
pub fn merge<'a>(notes: impl IntoIterator<Item = &'a String>) -> Vec<String> {
    const BEGIN: &str = "no scores at validation share ";
    let (mut shares, mut others, mut lowest) = (Vec::new(), BTreeSet::new(), BTreeSet::new());
    for note in notes {
        let parts = note.strip_prefix(BEGIN).and_then(|rest| {
            let (share, reason) = rest.split_once(": ")?;
            Some((share, reason.rsplit_once(": ")?.1))
        });
        match parts {
            Some((share, reason)) => {
                shares.push((share, note));
                lowest.insert(reason);
            }
            None => {
                others.insert(note.clone());
            }
        }
    }
    if let (2.., [reason]) = (shares.len(), &lowest.iter().collect::<Vec<_>>()[..]) {
        let percent = |share: &str| share.trim_end_matches('%').parse().unwrap_or(f64::INFINITY);
        shares.sort_by(|a, b| percent(a.0).total_cmp(&percent(b.0)));
        let list: Vec<&str> = shares.iter().map(|(share, _)| *share).collect();
        others.insert(format!(
            "no scores at validation shares {}: each would have fewer than 2 defects; {reason}",
            list.join(", ")
        ));
    } else {
        others.extend(shares.into_iter().map(|(_, note)| note.clone()));
    }
    others.into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_is_given_once() {
        let note = |share: &str| {
            format!(
                "no scores at validation share {share}: {share} beside 2 normal images selects 0 of 2 defects, at least 2 are needed: the lowest share possible here is 50%"
            )
        };
        let other = "a camera moved".to_owned();
        let alone = [note("1%"), other.clone()];
        assert_eq!(merge(&alone), [other.clone(), note("1%")]);
        let all = [note("15%"), note("1%"), other.clone(), note("2%")];
        let expected = "no scores at validation shares 1%, 2%, 15%: each would have fewer than 2 defects; the lowest share possible here is 50%";
        assert_eq!(merge(&all), [other, expected.to_owned()]);
    }

    #[test]
    fn different_reasons_are_not_merged() {
        let note = |share: &str, lowest: &str| {
            format!(
                "no scores at validation share {share}: too few: the lowest share possible here is {lowest}"
            )
        };
        let all = [note("1%", "3%"), note("2%", "4%")];
        assert_eq!(merge(&all), all);
    }
}
