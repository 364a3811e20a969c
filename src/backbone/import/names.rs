//! Locates the encoder in a file: the prefix of its names, their spelling, and what else the file holds.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use candle_core::{DType, Tensor};

/// A naming scheme for torchvision's ResNet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Spelling {
    /// Its description in reports.
    label: &'static str,
    /// Replacements for `conv1`, `bn1`, `layer1` to `layer4`, if they are spelled differently.
    stages: Option<[&'static str; 6]>,
    /// Spelling of `downsample`.
    shortcut: &'static str,
}

const STAGES: [&str; 6] = ["conv1", "bn1", "layer1", "layer2", "layer3", "layer4"];

/// Known naming schemes; the first is ours. Numbers come from `nn.Sequential(*list(resnet.children())[:-1])`, which
/// lightly's examples apply to torchvision's network (children 2 and 3 have no weights) and to lightly's own
/// `ResNetGenerator`.
const SPELLINGS: [Spelling; 4] = [
    Spelling { label: "", stages: None, shortcut: "downsample" },
    Spelling {
        label: "numbers of torchvision's layers, as lightly writes them",
        stages: Some(["0", "1", "4", "5", "6", "7"]),
        shortcut: "downsample",
    },
    Spelling { label: "lightly's names", stages: None, shortcut: "shortcut" },
    Spelling {
        label: "numbers of lightly's layers",
        stages: Some(["0", "1", "2", "3", "4", "5"]),
        shortcut: "shortcut",
    },
];

impl Spelling {
    fn spell(&self, name: &str) -> String {
        let mut parts: Vec<&str> = name.split('.').collect();
        if let (Some(stages), Some(first)) = (self.stages, parts.first_mut())
            && let Some(place) = STAGES.iter().position(|stage| stage == first)
        {
            *first = stages[place];
        }
        for part in parts.iter_mut().skip(1).filter(|part| **part == "downsample") {
            *part = self.shortcut;
        }
        parts.join(".")
    }
}

/// Tensors inside an encoder that ours lack. A file that has one holds another network, so they must not be ignored.
const INSIDE: [&str; 5] = ["dist_token", "reg_token", "register_tokens", "norm_pre", "rope"];

/// Location of the encoder in a file.
#[derive(Debug)]
pub struct Location {
    prefix: String,
    spelling: Spelling,
    /// Prefixes of further encoders with the same names.
    copies: Vec<String>,
    /// Groups of tensors outside the encoder, with their number of tensors.
    ignored: BTreeMap<String, usize>,
}

/// Why no encoder with the wanted names was found.
#[derive(Debug)]
pub enum Missing {
    /// Some or all of the names are missing.
    Names {
        /// The first missing name, with the prefix under which most names were found.
        first: String,
        /// Number of names that exist.
        found: usize,
        /// Number of names that should exist.
        wanted: usize,
    },
    /// Another reason, as a complete message.
    Other(String),
}

impl fmt::Display for Missing {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Names { found: 0, .. } => write!(formatter, "no tensor has a name of this encoder"),
            Self::Names { first, found, wanted } => {
                write!(formatter, "no tensor '{first}'; the file has {found} of the encoder's {wanted} names")
            }
            Self::Other(reason) => write!(formatter, "{reason}"),
        }
    }
}

/// Finds the encoder with all of the `wanted` names.
///
/// If the file has several, the one that the method evaluates is chosen: the teacher, if the method has one (DINO and
/// its successors), or the moving average that timm writes as `state_dict_ema`; otherwise the one trained by
/// gradients rather than a copy of it (MoCo, BYOL; `momentum` in lightly and solo-learn).
///
/// # Errors
/// If names are missing, two encoders of equal rank differ, or the file's encoder has tensors that ours lacks.
pub fn find(tensors: &BTreeMap<String, Tensor>, wanted: &[&str]) -> Result<Location, Missing> {
    let mut best: Option<(usize, String, Spelling)> = None;
    let mut whole: Vec<(String, Spelling)> = Vec::new();
    for spelling in SPELLINGS {
        let spelled: Vec<String> = wanted.iter().map(|name| spelling.spell(name)).collect();
        for (prefix, found) in prefixes(tensors, &spelled) {
            if found == wanted.len() && whole.iter().all(|(known, _)| *known != prefix) {
                whole.push((prefix.clone(), spelling));
            }
            if best.as_ref().is_none_or(|(most, ..)| found > *most) {
                best = Some((found, prefix, spelling));
            }
        }
    }
    whole.sort_by_key(|(prefix, _)| (rank(prefix), prefix.len(), prefix.clone()));
    let Some((prefix, spelling)) = whole.first().cloned() else {
        let (found, prefix, spelling) = best.unwrap_or((0, String::new(), SPELLINGS[0]));
        let name = |name: &&&str| format!("{prefix}{}", spelling.spell(name));
        let first = wanted.iter().map(|wanted| name(&wanted)).find(|name| !tensors.contains_key(name));
        return Err(Missing::Names { first: first.unwrap_or_default(), found, wanted: wanted.len() });
    };
    let copies: Vec<String> = whole[1..].iter().map(|(prefix, _)| prefix.clone()).collect();
    let mut place = Location { prefix, spelling, copies, ignored: BTreeMap::new() };
    for (other, spelled) in whole[1..].iter().filter(|(other, _)| rank(other) == rank(&place.prefix)) {
        let same = |name: &&str| {
            let (one, two) = (place.name(name), format!("{other}{}", spelled.spell(name)));
            tensors.get(&one).zip(tensors.get(&two)).is_some_and(|(one, two)| equal(one, two))
        };
        if !wanted.iter().all(same) {
            return Err(Missing::Other(format!(
                "two encoders that differ, under '{}' and '{other}'; it is unclear which is meant: save one of them \
                 in a file of its own",
                place.prefix
            )));
        }
    }
    place.ignored = ignored(tensors, wanted, &place)?;
    Ok(place)
}

/// Counts how many of `names` the file has under each prefix.
fn prefixes(tensors: &BTreeMap<String, Tensor>, names: &[String]) -> BTreeMap<String, usize> {
    let mut found = BTreeMap::new();
    for name in names {
        for prefix in tensors.keys().filter_map(|key| key.strip_suffix(name.as_str())) {
            if prefix.is_empty() || prefix.ends_with('.') {
                *found.entry(prefix.to_owned()).or_insert(0) += 1;
            }
        }
    }
    found
}

fn equal(one: &Tensor, two: &Tensor) -> bool {
    let differ = || one.ne(two)?.to_dtype(DType::U32)?.sum_all()?.to_scalar::<u32>();
    one.dims() == two.dims() && one.dtype() == two.dtype() && differ().is_ok_and(|differ| differ == 0)
}

/// Preference among encoders by their prefix; the smallest is chosen.
fn rank(prefix: &str) -> u8 {
    let has = |words: &[&str]| prefix.split(['.', '_']).any(|word| words.contains(&word));
    if has(&["teacher"]) || prefix.split('.').any(|part| ["state_dict_ema", "model_ema"].contains(&part)) {
        0
    } else if has(&["momentum", "target", "key", "k", "m", "ema", "student"]) {
        2
    } else {
        1
    }
}

/// Counts the tensors outside the encoder, grouped by what they belong to.
fn ignored(
    tensors: &BTreeMap<String, Tensor>,
    wanted: &[&str],
    place: &Location,
) -> Result<BTreeMap<String, usize>, Missing> {
    let names: BTreeSet<String> = wanted.iter().map(|name| place.name(name)).collect();
    let inside: BTreeSet<String> = wanted
        .iter()
        .filter_map(|name| place.spelling.spell(name).split('.').next().map(str::to_owned))
        .collect();
    let mut groups = BTreeMap::new();
    for key in tensors.keys().filter(|key| !names.contains(*key)) {
        let parts: Vec<&str> = key.split('.').collect();
        let group = match key.strip_prefix(&place.prefix) {
            _ if parts.last() == Some(&"num_batches_tracked") => "num_batches_tracked".to_owned(),
            Some(rest) => {
                let first = rest.split('.').next().unwrap_or_default();
                let copied = place.copies.iter().any(|copy| key.starts_with(copy.as_str()));
                if !copied && (inside.contains(first) || INSIDE.contains(&first)) {
                    return Err(Missing::Other(format!(
                        "'{key}' is a part of the file's encoder, but not of this one: it is another network"
                    )));
                }
                place.copy_of(key).unwrap_or_else(|| format!("{}{first}", place.prefix))
            }
            None => place.copy_of(key).unwrap_or_else(|| {
                let shared = parts.iter().zip(place.prefix.split('.')).take_while(|(a, b)| *a == b).count();
                parts[..(shared + 1).min(parts.len())].join(".")
            }),
        };
        *groups.entry(group).or_insert(0) += 1;
    }
    Ok(groups)
}

impl Location {
    /// Returns the name in the file of the encoder's tensor `name`.
    pub fn name(&self, name: &str) -> String {
        format!("{}{}", self.prefix, self.spelling.spell(name))
    }

    /// Returns the prefix, without its dot, of the copy that a tensor belongs to, if it belongs to one.
    fn copy_of(&self, key: &str) -> Option<String> {
        let copy = self.copies.iter().filter(|copy| !copy.is_empty() && key.starts_with(copy.as_str()));
        copy.max_by_key(|copy| copy.len()).map(|copy| copy.trim_end_matches('.').to_owned())
    }

    /// Reports how many tensors were found, under which prefix and in which spelling.
    pub fn report_found(&self, count: usize) -> String {
        let stripped = match self.prefix.as_str() {
            "" => String::new(),
            prefix => format!(" under the prefix '{prefix}', which is stripped"),
        };
        let spelled = match self.spelling.label {
            "" => String::new(),
            label => format!(", by {label}"),
        };
        format!("all {count} tensors of the encoder found{stripped}{spelled}")
    }

    /// Reports which of several encoders was chosen, and why; `None` if there is only one.
    pub fn report_copies(&self) -> Option<String> {
        let name =
            |prefix: &str| if prefix.is_empty() { "no prefix".to_owned() } else { format!("'{prefix}'") };
        let others: Vec<String> = self.copies.iter().map(|copy| name(copy)).collect();
        let why = match rank(&self.prefix) {
            0 => "the teacher or moving average, which its method evaluates",
            1 => "the one trained by gradients",
            _ => "the closest to one trained by gradients",
        };
        let (taken, others) = (name(&self.prefix), others.join(", "));
        (!self.copies.is_empty())
            .then(|| format!("of several encoders, {taken} is used, {why}; not {others}"))
    }

    /// Reports what was ignored; `None` if nothing was.
    pub fn report_ignored(&self) -> Option<String> {
        let line = |(group, count): (&String, &usize)| match count {
            1 => group.clone(),
            count => format!("{group} ({count} tensors)"),
        };
        let groups: Vec<String> = self.ignored.iter().map(line).collect();
        (!groups.is_empty()).then(|| format!("ignored, not part of the encoder: {}", groups.join(", ")))
    }
}
