//! The format of `torch.save` before PyTorch 1.6: five consecutive pickles (magic number, protocol, machine,
//! dictionary of tensors, keys of storages), followed by the data of the storages.
//!
//! Pickles are programs. Only the instructions needed for a dictionary of plain tensors are interpreted, and only
//! ordered dictionaries, tensors and storages may be referenced. No code from the file is run, and anything else is
//! an error.

mod pickle;

use std::collections::BTreeMap;

use candle_core::{DType, Device, Error, Result, Tensor};

use self::pickle::{Node, Pickle, StoredTensor};

/// The magic number and protocol 1001, both as pickles of protocol 2.
const START: &[u8] = b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19.\x80\x02M\xe9\x03.";

/// Whether the bytes begin like a file in this format.
pub fn is_legacy(bytes: &[u8]) -> bool {
    bytes.starts_with(START)
}

/// Reads the tensors of a dictionary, in the file's order.
///
/// # Errors
/// If the dictionary holds anything else, or the file is truncated.
pub fn tensors(bytes: &[u8]) -> Result<Vec<(String, Tensor)>> {
    let Some(mut rest) = bytes.strip_prefix(START) else { refuse!("not PyTorch's format before 1.6") };
    let machine = Pickle::read(&mut rest)?;
    if machine.entry("little_endian") != Some(&Node::Flag(true)) {
        refuse!("written on a big-endian machine")
    }
    let dictionary = Pickle::read(&mut rest)?;
    let storages = storages(&mut rest, &dictionary)?;
    let Some(entries) = dictionary.entries() else { refuse!("no dictionary of tensors") };
    let mut found = Vec::new();
    for (name, value) in entries {
        let (Node::Text(name), Node::Tensor(held)) = (name, value) else {
            refuse!("a dictionary that holds more than named tensors")
        };
        found.push((name.clone(), tensor(name, held, &storages)?));
    }
    Ok(found)
}

/// Reads the type and data of each storage, by its key. The file lists all keys, then each storage's count and data.
fn storages<'a>(rest: &mut &'a [u8], dictionary: &Pickle) -> Result<BTreeMap<String, (DType, &'a [u8])>> {
    let keys = Pickle::read(rest)?;
    let Some(keys) = keys.list() else { refuse!("no list of storages") };
    let mut found = BTreeMap::new();
    for key in keys {
        let Node::Text(key) = key else { refuse!("a storage without a name") };
        let Some(&(dtype, count)) = dictionary.storages.get(key) else {
            refuse!("a storage '{key}' that no tensor uses")
        };
        let torn = || Error::Msg("truncated: it ends within its data; copy or download it again".to_owned());
        let (stated, numbers) = rest.split_first_chunk::<8>().ok_or_else(torn)?;
        if u64::from_le_bytes(*stated) != count as u64 {
            refuse!("storage '{key}' has {} numbers, expected {count}", u64::from_le_bytes(*stated))
        }
        let size = count.checked_mul(dtype.size_in_bytes()).ok_or_else(torn)?;
        let numbers_and_rest = numbers.split_at_checked(size).ok_or_else(torn)?;
        *rest = numbers_and_rest.1;
        found.insert(key.clone(), (dtype, numbers_and_rest.0));
    }
    if !rest.is_empty() {
        refuse!("{} bytes after the last storage", rest.len())
    }
    Ok(found)
}

fn tensor(name: &str, held: &StoredTensor, storages: &BTreeMap<String, (DType, &[u8])>) -> Result<Tensor> {
    let Some((dtype, numbers)) = storages.get(&held.storage) else {
        refuse!("tensor '{name}' has no storage")
    };
    let mut stride = 1_usize;
    for (&dim, &found) in held.shape.iter().zip(&held.strides).rev() {
        if dim != 1 && found != stride {
            refuse!("tensor '{name}' is a view that is not contiguous")
        }
        stride = stride.saturating_mul(dim);
    }
    let size = dtype.size_in_bytes();
    let begin = held.offset.saturating_mul(size);
    let end = begin.saturating_add(stride.saturating_mul(size));
    match numbers.get(begin..end) {
        Some(numbers) => Tensor::from_raw_buffer(numbers, *dtype, &held.shape, &Device::Cpu),
        None => refuse!("tensor '{name}' reaches beyond its storage"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Written by PyTorch in `fixtures/torch/mobilenet.py`.
    const FILE: &[u8] = include_bytes!("../../../../fixtures/torch/legacy.pt");

    /// The file with `from`, which occurs in it, replaced by `to` of the same length.
    fn changed(from: &[u8], to: &[u8]) -> Vec<u8> {
        assert_eq!(from.len(), to.len());
        let place = FILE.windows(from.len()).position(|window| window == from).expect("it is in the file");
        [&FILE[..place], to, &FILE[place + from.len()..]].concat()
    }

    fn error(bytes: &[u8]) -> String {
        tensors(bytes).unwrap_err().to_string()
    }

    #[test]
    fn a_file_of_pytorch_is_read_in_its_order() {
        assert!(is_legacy(FILE));
        let found = tensors(FILE).unwrap();
        let names: Vec<&str> = found.iter().map(|(name, _)| name.as_str()).collect();
        let expected = "0.weight 1.weight 1.bias 1.running_mean 1.running_var 1.num_batches_tracked";
        assert_eq!(names, expected.split(' ').collect::<Vec<_>>());
        assert_eq!(found[0].1.dims(), [3, 2, 3, 3]);
        let counted: Vec<f32> = (0..54_u8).map(f32::from).collect();
        assert_eq!(found[0].1.flatten_all().unwrap().to_vec1::<f32>().unwrap(), counted);
        assert_eq!(found[4].1.to_vec1::<f32>().unwrap(), [0.5, 1.5, 2.5]);
        assert_eq!((found[5].1.dims().len(), found[5].1.to_scalar::<i64>().unwrap()), (0, 0));
    }

    #[test]
    fn anything_else_is_refused() {
        let system = changed(b"collections\nOrderedDict", b"posix\nsystem\n__________");
        assert!(error(&system).contains("it names 'posix.system'"), "{}", error(&system));
        let rebuild = changed(b"_rebuild_tensor_v2", b"_rebuild_tensor_v3");
        assert!(error(&rebuild).contains("it names 'torch._utils._rebuild_tensor_v3'"));
        let double = changed(b"FloatStorage", b"FlintStorage");
        assert!(error(&double).contains("it names 'torch.FlintStorage'"));
        let big = changed(b"little_endianq\x02\x88", b"little_endianq\x02\x89");
        assert!(error(&big).contains("big-endian"), "{}", error(&big));
        let more = [FILE, b"\0"].concat();
        assert!(error(&more).contains("1 bytes after the last storage"));
        assert!(error(b"\x80\x02}.").contains("not PyTorch's format"));
    }

    /// A file of a little-endian machine: this dictionary, then a single storage with its key and numbers.
    fn of_one_storage(dictionary: &[u8], numbers: &[f32]) -> Vec<u8> {
        let machine = b"\x80\x02}X\x0d\0\0\0little_endian\x88s.";
        let numbers: Vec<u8> = numbers.iter().flat_map(|number| number.to_le_bytes()).collect();
        let count = (numbers.len() as u64 / 4).to_le_bytes();
        // Python's pickler writes a list's only item as an append (`a`).
        let keys = b"\x80\x02]q\0X\x01\0\0\x007q\x01a.";
        [START, machine, dictionary, keys, &count, &numbers].concat()
    }

    /// A dictionary's entry `name`: a 2 x 2 tensor, as a call of `_rebuild_tensor_v2` with the arguments (storage of
    /// `count` numbers, 0, (2, 2), (2, 1), False, OrderedDict()).
    fn square(name: u8, kind: &str, count: u8) -> Vec<u8> {
        let storage = format!("(X\x07\0\0\0storagectorch\n{kind}\nX\x01\0\0\x007X\x03\0\0\0cpuK");
        [
            &[b'X', 1, 0, 0, 0, name],
            &b"ctorch._utils\n_rebuild_tensor_v2\n("[..],
            storage.as_bytes(),
            &[count],
            b"NtQK\0K\x02K\x02\x86K\x02K\x01\x86\x89ccollections\nOrderedDict\n)RtRs",
        ]
        .concat()
    }

    /// Tied weights are written like this.
    #[test]
    fn tensors_may_share_a_storage() {
        let file = |second: Vec<u8>| {
            let dictionary = [b"\x80\x02}", &square(b'a', "FloatStorage", 4)[..], &second, b"."].concat();
            tensors(&of_one_storage(&dictionary, &[1.0, 2.0, 3.0, 4.0]))
        };
        let found = file(square(b'b', "FloatStorage", 4)).unwrap();
        for ((name, tensor), expected) in found.iter().zip(["a", "b"]) {
            assert_eq!((name.as_str(), tensor.dims()), (expected, [2, 2].as_slice()));
            assert_eq!(tensor.to_vec2::<f32>().unwrap(), [[1.0, 2.0], [3.0, 4.0]]);
        }
        assert_eq!(found.len(), 2);
        // But the tensors must agree about its type and size.
        for second in [square(b'b', "FloatStorage", 3), square(b'b', "DoubleStorage", 4)] {
            assert!(
                file(second)
                    .unwrap_err()
                    .to_string()
                    .contains("a pickle of something other than a dictionary of tensors")
            );
        }
    }

    #[test]
    fn lists_lie_where_they_are_used() {
        // {'a': [1, 2, 3]}
        let pickle = Pickle::read(&mut &b"\x80\x02}X\x01\0\0\0a](K\x01K\x02eK\x03as."[..]).unwrap();
        assert_eq!(
            pickle.entry("a").map(|node| matches!(node, Node::List(items) if items.len() == 3)),
            Some(true)
        );
        // Only lists can be appended to.
        for odd in [&b"\x80\x02}(K\x01e."[..], b"\x80\x02}K\x01a.", b"\x80\x02K\x01a."] {
            assert!(Pickle::read(&mut &*odd).is_err());
        }
    }

    /// Truncation at any byte is an error. Inverting any byte before the data of the storages never panics.
    #[test]
    fn a_torn_or_damaged_file_is_an_error() {
        for length in 0..FILE.len() {
            assert!(tensors(&FILE[..length]).is_err(), "{length}");
        }
        let begin = FILE.len() - 54 * 4;
        for place in 0..begin {
            let mut bytes = FILE.to_vec();
            bytes[place] ^= 0xff;
            // Names and values may differ; nothing may panic.
            drop(tensors(&bytes));
        }
    }
    /// A dictionary with one 2 x 2 tensor, at an offset in its storage and with strides; each argument is one byte.
    fn placed(kind: &str, count: u8, offset: u8, strides: [u8; 2]) -> Vec<u8> {
        let storage = format!("(X\x07\0\0\0storagectorch\n{kind}\nX\x01\0\0\x007X\x03\0\0\0cpuK");
        [
            &b"\x80\x02}X\x01\0\0\0actorch._utils\n_rebuild_tensor_v2\n("[..],
            storage.as_bytes(),
            &[count],
            &[
                b'N', b't', b'Q', b'K', offset, b'K', 2, b'K', 2, 0x86, b'K', strides[0], b'K', strides[1],
                0x86,
            ],
            b"\x89ccollections\nOrderedDict\n)RtRs.",
        ]
        .concat()
    }

    #[test]
    fn a_tensor_may_begin_within_its_storage() {
        let numbers = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0];
        let read = |offset, strides, numbers: &[f32]| {
            tensors(&of_one_storage(&placed("FloatStorage", 6, offset, strides), numbers))
        };
        let found = read(2, [2, 1], &numbers).unwrap();
        assert_eq!(found[0].1.to_vec2::<f32>().unwrap(), [[3.0, 4.0], [5.0, 6.0]]);
        for (offset, strides, numbers, expected) in [
            (3, [2, 1], &numbers[..], "tensor 'a' reaches beyond its storage"),
            (0, [1, 2], &numbers[..], "tensor 'a' is a view that is not contiguous"),
            (0, [3, 1], &numbers[..], "tensor 'a' is a view that is not contiguous"),
            (0, [2, 1], &numbers[..5], "storage '7' has 5 numbers, expected 6"),
            (0, [2, 1], &[1.0; 7], "storage '7' has 7 numbers, expected 6"),
        ] {
            assert_eq!(read(offset, strides, numbers).unwrap_err().to_string(), expected);
        }
    }

    #[test]
    fn every_type_of_number_is_read_as_what_it_is() {
        use half::{bf16, f16};
        let machine = b"\x80\x02}X\x0d\0\0\0little_endian\x88s.";
        let numbers = [1.5_f64, -2.0, 3.0, 0.25];
        let bytes =
            |of: &dyn Fn(f64) -> Vec<u8>| numbers.iter().flat_map(|&number| of(number)).collect::<Vec<u8>>();
        for (kind, dtype, written, expected) in [
            ("FloatStorage", DType::F32, bytes(&|x| (x as f32).to_le_bytes().to_vec()), numbers),
            ("DoubleStorage", DType::F64, bytes(&|x| x.to_le_bytes().to_vec()), numbers),
            ("HalfStorage", DType::F16, bytes(&|x| f16::from_f64(x).to_le_bytes().to_vec()), numbers),
            ("BFloat16Storage", DType::BF16, bytes(&|x| bf16::from_f64(x).to_le_bytes().to_vec()), numbers),
            ("LongStorage", DType::I64, bytes(&|x| (x as i64).to_le_bytes().to_vec()), [1.0, -2.0, 3.0, 0.0]),
        ] {
            let keys = b"\x80\x02]q\0X\x01\0\0\x007q\x01a.";
            let dictionary = placed(kind, 4, 0, [2, 1]);
            let count = 4_u64.to_le_bytes();
            let file = [START, machine, &dictionary, keys, &count, &written].concat();
            let found = tensors(&file).unwrap().remove(0).1;
            let values = found.to_dtype(DType::F64).unwrap().flatten_all().unwrap().to_vec1::<f64>().unwrap();
            assert_eq!((found.dtype(), values), (dtype, expected.to_vec()), "{kind}");
        }
    }

    #[test]
    fn a_dictionary_of_anything_else_is_refused() {
        let numbers = [1.0, 2.0, 3.0, 4.0];
        // {'a': 5}, whose storage no tensor uses.
        let five = error(&of_one_storage(b"\x80\x02}X\x01\0\0\0aK\x05s.", &numbers));
        assert_eq!(five, "a storage '7' that no tensor uses");
        // A list instead of a dictionary.
        let list = [START, b"\x80\x02}X\x0d\0\0\0little_endian\x88s.", b"\x80\x02].", b"\x80\x02]."].concat();
        assert_eq!(error(&list), "no dictionary of tensors");
        // {'a': 5} without storages.
        let five = [
            START,
            b"\x80\x02}X\x0d\0\0\0little_endian\x88s.",
            b"\x80\x02}X\x01\0\0\0aK\x05s.",
            b"\x80\x02].",
        ];
        assert_eq!(error(&five.concat()), "a dictionary that holds more than named tensors");
        let nothing = [START, b"\x80\x02}.", b"\x80\x02}.", b"\x80\x02]."].concat();
        assert_eq!(error(&nothing), "written on a big-endian machine");
    }

    /// A call of `_rebuild_tensor_v2` with these tuples of sizes and of strides, for the key 'a'.
    fn shaped(sizes: &[u8], strides: &[u8]) -> Vec<u8> {
        let tuple = |numbers: &[u8]| {
            let numbers = numbers.iter().flat_map(|&number| [b'K', number]);
            [b"(".to_vec(), numbers.collect(), b"t".to_vec()].concat()
        };
        [
            &b"\x80\x02}X\x01\0\0\0actorch._utils\n_rebuild_tensor_v2\n((X\x07\0\0\0storagectorch\nFloatStorage\n"[..],
            b"X\x01\0\0\x007X\x03\0\0\0cpuK\x04NtQK\0",
            &tuple(sizes),
            &tuple(strides),
            b"\x89ccollections\nOrderedDict\n)RtRs.",
        ]
        .concat()
    }

    /// PyTorch writes any stride for an axis of length 1, and as many strides as axes.
    #[test]
    fn strides_of_single_rows_do_not_matter() {
        let numbers = [1.0, 2.0, 3.0, 4.0];
        let read = |sizes: &[u8], strides: &[u8]| tensors(&of_one_storage(&shaped(sizes, strides), &numbers));
        for (sizes, strides) in [([1, 4, 1], [9, 1, 7]), ([4, 1, 1], [1, 5, 3]), ([1, 1, 4], [1, 1, 1])] {
            let found = read(&sizes, &strides).unwrap().remove(0).1;
            assert_eq!(found.dims(), sizes.map(usize::from));
            assert_eq!(found.flatten_all().unwrap().to_vec1::<f32>().unwrap(), numbers);
        }
        for (sizes, strides) in [(&[2, 2][..], &[2][..]), (&[4], &[4, 1]), (&[], &[1])] {
            let error = read(sizes, strides).unwrap_err().to_string();
            assert!(
                error.contains("a pickle of something other than a dictionary of tensors"),
                "{sizes:?}, {strides:?}: {error}"
            );
        }
        // No axis: a single number.
        let scalar = read(&[], &[]).unwrap().remove(0).1;
        assert_eq!((scalar.dims().len(), scalar.to_scalar::<f32>().unwrap()), (0, 1.0));
    }

    /// Sizes, offsets and counts below zero, as 32-bit numbers, are no numbers of a tensor.
    #[test]
    fn numbers_below_zero_are_refused() {
        let file = shaped(&[2, 2], &[2, 1]);
        let with = |from: &[u8], to: &[u8]| {
            let place =
                file.windows(from.len()).position(|window| window == from).expect("it is in the file");
            let changed = [&file[..place], to, &file[place + from.len()..]].concat();
            error(&of_one_storage(&changed, &[1.0, 2.0, 3.0, 4.0]))
        };
        let minus = |number: i32| [&b"J"[..], &(-number).to_le_bytes()].concat();
        for (from, to) in [
            (&b"(K\x02K\x02t"[..], [&b"("[..], &minus(2), b"K\x02t"].concat()),
            (b"(K\x02K\x01t", [&b"("[..], &minus(2), b"K\x01t"].concat()),
            (b"QK\0", [&b"Q"[..], &minus(1)].concat()),
            (b"cpuK\x04", [&b"cpu"[..], &minus(4)].concat()),
        ] {
            let found = with(from, &to);
            assert!(found.contains("a pickle of something other than a dictionary of tensors"), "{found}");
        }
    }

    #[test]
    fn the_list_of_storages_names_those_of_all_tensors() {
        let machine = b"\x80\x02}X\x0d\0\0\0little_endian\x88s.";
        let (dictionary, count) = (shaped(&[2, 2], &[2, 1]), 4_u64.to_le_bytes());
        let numbers: Vec<u8> = [1.0_f32, 2.0, 3.0, 4.0].iter().flat_map(|x| x.to_le_bytes()).collect();
        let with = |keys: &[u8], data: &[&[u8]]| {
            let file = [&[START, machine, &dictionary, keys][..], data].concat().concat();
            tensors(&file).map(|_| ()).map_err(|error| error.to_string())
        };
        let whole: [&[u8]; 2] = [&count, &numbers];
        assert_eq!(with(b"\x80\x02]X\x01\0\0\x007a.", &whole), Ok(()));
        for (keys, data, expected) in [
            (&b"\x80\x02}."[..], &whole[..], "no list of storages"),
            (b"\x80\x02]K\x07a.", &whole, "a storage without a name"),
            (b"\x80\x02].", &[], "tensor 'a' has no storage"),
            (b"\x80\x02].", &whole, "24 bytes after the last storage"),
        ] {
            assert_eq!(with(keys, data), Err(expected.to_owned()));
        }
    }
}
