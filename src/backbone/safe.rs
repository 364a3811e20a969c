//! Deterministic safetensors: equal tensors and notes give equal bytes.
//!
//! Notes are the entries of the header's `__metadata__`. The safetensors crate keeps them in an unordered map and
//! writes them in random order. Two files of the same weights would then have different digests, and so would cells
//! that start from them. Therefore this module writes the notes into the header itself, sorted by name.

use std::{collections::BTreeMap, fmt::Write as _};

use safetensors::{SafeTensorError, View};

/// Serialises tensors and notes. Headers are padded to a multiple of 8 bytes, as the crate does.
///
/// # Errors
/// If two tensors have the same name, or the length of one contradicts its shape.
pub fn serialise<S, V>(
    tensors: impl IntoIterator<Item = (S, V)>,
    notes: &BTreeMap<String, String>,
) -> Result<Vec<u8>, SafeTensorError>
where
    S: AsRef<str> + Ord + std::fmt::Display,
    V: View,
{
    let plain = safetensors::serialize(tensors, None)?;
    let Some((length, rest)) = plain.split_first_chunk::<8>().filter(|_| !notes.is_empty()) else {
        return Ok(plain);
    };
    let (header, numbers) = rest.split_at(u64::from_le_bytes(*length) as usize);
    let entries = header.trim_ascii().strip_prefix(b"{").unwrap_or_default();
    let notes: Vec<String> =
        notes.iter().map(|(name, note)| format!("{}:{}", quoted(name), quoted(note))).collect();
    let mut text = format!("{{\"__metadata__\":{{{}}}", notes.join(",")).into_bytes();
    if entries != b"}" {
        text.push(b',');
    }
    text.extend_from_slice(entries);
    text.resize(text.len().next_multiple_of(8), b' ');
    Ok([&(text.len() as u64).to_le_bytes(), &text[..], numbers].concat())
}

/// Escapes text as a JSON string.
fn quoted(text: &str) -> String {
    let mut quoted = String::from("\"");
    for letter in text.chars() {
        match letter {
            '"' | '\\' => quoted.extend(['\\', letter]),
            '\0'..='\u{1f}' => write!(quoted, "\\u{:04x}", u32::from(letter)).expect("memory takes text"),
            _ => quoted.push(letter),
        }
    }
    quoted + "\""
}

#[cfg(test)]
mod tests {
    use candle_core::{Device, Tensor};
    use safetensors::SafeTensors;

    use super::*;

    fn notes() -> BTreeMap<String, String> {
        let hard = "{\"a\": \"b\\n\"}\n\t\u{1}\u{7f} Größe \u{1f600}";
        let note = |n: usize| (format!("note {n}"), format!("{n}: {hard}"));
        (0..9).map(note).collect()
    }

    #[test]
    fn equal_tensors_and_notes_are_equal_bytes() {
        let tensor = Tensor::new(&[[1.5_f32, -2.0], [3.0, 0.25]], &Device::Cpu).unwrap();
        let bytes = || serialise([("b", &tensor), ("a", &tensor)], &notes()).unwrap();
        let first = bytes();
        assert!((0..20).all(|_| bytes() == first));
        let (length, head) = SafeTensors::read_metadata(&first).unwrap();
        assert_eq!(length % 8, 0);
        let found: BTreeMap<String, String> = head.metadata().clone().unwrap().into_iter().collect();
        assert_eq!(found, notes(), "as the crate reads them");
        let file = SafeTensors::deserialize(&first).unwrap();
        assert_eq!(file.tensor("a").unwrap().shape(), [2, 2]);
        let expected: Vec<u8> = [1.5_f32, -2.0, 3.0, 0.25].iter().flat_map(|x| x.to_le_bytes()).collect();
        assert!(["a", "b"].iter().all(|name| file.tensor(name).unwrap().data() == expected));
    }

    #[test]
    fn no_notes_and_no_tensors_are_no_trouble() {
        let tensor = Tensor::new(&[1_u8], &Device::Cpu).unwrap();
        let plain = safetensors::serialize([("a", &tensor)], None).unwrap();
        assert_eq!(serialise([("a", &tensor)], &BTreeMap::new()).unwrap(), plain);
        let empty = serialise(Vec::<(&str, &Tensor)>::new(), &notes()).unwrap();
        assert_eq!(SafeTensors::read_metadata(&empty).unwrap().1.metadata().as_ref().unwrap().len(), 9);
    }
}
