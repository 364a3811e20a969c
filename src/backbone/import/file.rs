//! Recognises the format of a weights file by its bytes, and reads its tensors.

use std::{collections::BTreeMap, path::Path};

use candle_core::{Device, Error, Result, Tensor, pickle, safetensors};

use super::legacy;

/// Keys of dictionaries in a checkpoint that commonly hold an encoder.
const KEYS: [&str; 12] = [
    "state_dict",
    "model",
    "teacher",
    "student",
    "state_dict_ema",
    "model_ema",
    "model_state_dict",
    "model_state",
    "net",
    "network",
    "encoder",
    "backbone",
];

/// Reads the tensors of a file of any known format. Names inside nested dictionaries are prefixed with the
/// dictionary's key and a dot.
///
/// # Errors
/// If the file has no known format. The message says what the file is instead, and what to do.
pub fn tensors(path: &Path, bytes: &[u8]) -> Result<BTreeMap<String, Tensor>> {
    let start = String::from_utf8_lossy(&bytes[..bytes.len().min(512)]);
    let text = start.trim_start_matches('\u{feff}').trim_start().to_ascii_lowercase();
    if bytes.is_empty() {
        refuse!("an empty file, 0 bytes: the copy or download failed; fetch it again")
    } else if text.starts_with("version https://git-lfs.github.com/spec/") {
        let size = text.lines().find_map(|line| line.strip_prefix("size "));
        let size = size.map_or_else(String::new, |size| format!(" of {} bytes", size.trim()));
        refuse!("a Git LFS pointer, not the weights{size}: run `git lfs pull` in its folder")
    } else if ["<!doctype", "<html", "<?xml", "<head"].iter().any(|tag| text.starts_with(tag)) {
        refuse!(
            "a web page, not weights: the address led to a page or a login; download from the address of the file \
             itself (on Hugging Face it has /resolve/, not /blob/)"
        )
    } else if bytes.starts_with(b"PK\x03\x04") {
        checkpoint(path, bytes)
    } else if bytes[0] == 0x80 && bytes.get(1).is_some_and(|protocol| (2..=5).contains(protocol)) {
        // A safetensors file may begin with the same two bytes, as they are the length of its header (640 bytes, for
        // instance), but its ninth byte is a brace.
        match bytes.get(8) {
            Some(b'{') => plain(bytes),
            _ if legacy::is_legacy(bytes) => match legacy::tensors(bytes) {
                Ok(tensors) => Ok(tensors.into_iter().collect()),
                Err(error) => {
                    refuse!("PyTorch's format before 1.6: {}; {}", first_line(&error), convert(path))
                }
            },
            _ => refuse!("a pickle, but not a PyTorch checkpoint; {}", convert(path)),
        }
    } else {
        plain(bytes)
    }
}

/// Reads the safetensors format: 8 bytes with the length of the header, a JSON header, the data.
fn plain(bytes: &[u8]) -> Result<BTreeMap<String, Tensor>> {
    let length = bytes.first_chunk::<8>().map(|first| u64::from_le_bytes(*first));
    let (Some(length), Some(b'{')) = (length, bytes.get(8)) else {
        refuse!("truncated or not safetensors, and not a PyTorch checkpoint either: {} bytes", bytes.len())
    };
    let end = usize::try_from(length).ok().and_then(|length| length.checked_add(8));
    let Some(header) = end.and_then(|end| bytes.get(8..end)) else {
        refuse!(
            "truncated: the file ends in its header, after {} bytes; copy or download it again",
            bytes.len()
        )
    };
    // Every entry has `"data_offsets":[begin,end]`, relative to the end of the header.
    let header = String::from_utf8_lossy(header);
    let ends = header
        .split("\"data_offsets\"")
        .skip(1)
        .filter_map(|entry| entry.split(['[', ']']).nth(1)?.rsplit(',').next()?.trim().parse::<u64>().ok());
    let whole = ends.max().unwrap_or(0).saturating_add(8).saturating_add(length);
    if whole > bytes.len() as u64 {
        refuse!("truncated: {} bytes, expected {whole}; copy or download it again", bytes.len())
    }
    let tensors: BTreeMap<String, Tensor> = safetensors::load_buffer(bytes, &Device::Cpu)
        .map_err(|error| Error::Msg(format!("truncated or not safetensors: {}", first_line(&error))))?
        .into_iter()
        .collect();
    if tensors.is_empty() {
        refuse!("it contains no tensors")
    }
    Ok(tensors)
}

/// Reads a zip file written by `torch.save`. Candle parses its pickle without running code from it.
fn checkpoint(path: &Path, bytes: &[u8]) -> Result<BTreeMap<String, Tensor>> {
    /// A zip file ends with this record of 22 bytes, followed by a comment of at most 65,535 bytes.
    const END: &[u8] = b"PK\x05\x06";
    let tail = &bytes[bytes.len().saturating_sub(22 + 65_535)..];
    if !tail.windows(END.len()).any(|window| window == END) {
        refuse!(
            "truncated: a PyTorch checkpoint without its end, {} bytes; copy or download it again",
            bytes.len()
        )
    }
    let read = |key: Option<&str>| pickle::read_all_with_key(path, key);
    let unread = |error| Error::Msg(format!("not read ({}); {}", first_line(&error), convert(path)));
    let mut tensors: BTreeMap<String, Tensor> = read(None).map_err(unread)?.into_iter().collect();
    for key in KEYS {
        // A missing key is an error, which means no tensors here; the pickle itself was parsed above.
        let found = pickle::read_pth_tensor_info(path, false, Some(key)).unwrap_or_default();
        if !found.is_empty() && found.iter().any(|tensor| !tensors.contains_key(&tensor.name)) {
            let within = read(Some(key)).map_err(unread)?;
            tensors.extend(within.into_iter().map(|(name, tensor)| (format!("{key}.{name}"), tensor)));
        }
    }
    if tensors.is_empty() {
        refuse!("a PyTorch checkpoint without a dictionary of plain tensors; {}", convert(path))
    }
    Ok(tensors)
}

/// Returns the message of a Candle error, without the stack trace that may follow.
fn first_line(error: &Error) -> String {
    error.to_string().lines().next().unwrap_or_default().to_owned()
}

/// Shell command that converts a checkpoint to safetensors.
fn convert(path: &Path) -> String {
    let (from, to) = (path.display(), path.with_extension("safetensors"));
    format!(
        "this converts it to safetensors: python3 -c \"import torch; from safetensors.torch import save_file; w = \
         torch.load('{from}', map_location='cpu', weights_only=True); w = next((w[k] for k in ('state_dict', 'model', \
         'teacher') if k in w), w); save_file({{k: v.clone().contiguous() for k, v in w.items() if \
         torch.is_tensor(v)}}, '{}')\" (weights_only=False runs code from the file: use it only if you trust the file)",
        to.display()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(bytes: &[u8]) -> String {
        tensors(Path::new("folder/init.pth"), bytes).unwrap_err().to_string()
    }

    #[test]
    fn pages_and_pointers_are_known_by_their_first_words() {
        for page in [
            "<!DOCTYPE html>",
            "<html lang=\"en\">",
            "<?xml version=\"1.0\"?>",
            "  \n<head>",
            "\u{feff}<HTML>",
        ] {
            assert!(
                error(page.as_bytes())
                    .starts_with("a web page, not weights: the address led to a page or a login"),
                "{page}"
            );
        }
        let pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:00\n";
        let expected = "a Git LFS pointer, not the weights: run `git lfs pull` in its folder";
        assert_eq!(error(pointer.as_bytes()), expected);
        let sized = error(format!("{pointer}size 12\n").as_bytes());
        assert_eq!(sized, expected.replace("weights:", "weights of 12 bytes:"));
    }

    #[test]
    fn pickles_of_protocols_two_to_five_are_known() {
        for protocol in 0..8 {
            let said = error(&[0x80, protocol, b'K', 1, b'.']);
            let known = (2..=5).contains(&protocol);
            assert_eq!(
                said.starts_with("a pickle, but not a PyTorch checkpoint; this converts it"),
                known,
                "{said}"
            );
            assert_eq!(
                said.starts_with("truncated or not safetensors, and not a PyTorch checkpoint"),
                !known,
                "{said}"
            );
        }
    }

    #[test]
    fn the_command_that_converts_names_both_files() {
        let expected = "this converts it to safetensors: python3 -c \"import torch; from safetensors.torch import save_file; \
                        w = torch.load('folder/init.pth', map_location='cpu', weights_only=True); w = next((w[k] for k \
                        in ('state_dict', 'model', 'teacher') if k in w), w); save_file({k: v.clone().contiguous() for \
                        k, v in w.items() if torch.is_tensor(v)}, 'folder/init.safetensors')\" (weights_only=False runs \
                        code from the file: use it only if you trust the file)";
        assert_eq!(convert(Path::new("folder/init.pth")), expected);
    }

    /// `x` takes the 8 bytes after the header. Files with only 7 of them, without a complete header, or with 9 bytes
    /// are refused.
    #[test]
    fn a_torn_file_says_how_long_it_should_be() {
        let header = br#"{"x":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}"#;
        let file =
            |numbers: usize| [&(header.len() as u64).to_le_bytes()[..], header, &vec![0; numbers]].concat();
        assert_eq!(tensors(Path::new("x"), &file(8)).unwrap()["x"].dims(), [2]);
        let (found, expected) = (file(7).len(), file(8).len());
        assert_eq!(
            error(&file(7)),
            format!("truncated: {found} bytes, expected {expected}; copy or download it again")
        );
        let cut = error(&file(8)[..20]);
        assert_eq!(cut, "truncated: the file ends in its header, after 20 bytes; copy or download it again");
        assert!(
            error(&file(9)).starts_with("truncated or not safetensors: "),
            "bytes that belong to nothing"
        );
    }
}
