//! Checkpoints written byte by byte in the format of `torch.save`.

use crate::backbone::Parameters;

/// The output of `torch.save` for dictionaries of f32 tensors: a single one, or several under keys.
pub fn torch(dictionaries: &[(&str, &Parameters)]) -> Vec<u8> {
    let text = |text: &str| [b"X".as_slice(), &(text.len() as u32).to_le_bytes(), text.as_bytes()].concat();
    let number = |number: usize| [b"J".as_slice(), &(number as u32).to_le_bytes()].concat();
    let mut entries: Vec<(String, Vec<u8>)> = Vec::new();
    let mut dictionary = |encoder: &Parameters| {
        let mut pickle = b"ccollections\nOrderedDict\n)R".to_vec();
        for entry in encoder.all() {
            let (key, dims) = (entries.len().to_string(), entry.variable.dims());
            let strides = entry.variable.stride();
            let tuple = |numbers: &[usize]| {
                [b"(".to_vec(), numbers.iter().flat_map(|&n| number(n)).collect(), b"t".to_vec()].concat()
            };
            let storage = [
                b"(".to_vec(),
                text("storage"),
                b"ctorch\nFloatStorage\n".to_vec(),
                text(&key),
                text("cpu"),
                number(entry.variable.elem_count()),
                b"tQ".to_vec(),
            ];
            let arguments =
                [storage.concat(), number(0), tuple(dims), tuple(strides), b"\x89".to_vec()].concat();
            pickle.extend(text(&entry.name));
            pickle.extend(b"ctorch._utils\n_rebuild_tensor_v2\n(");
            pickle.extend(arguments);
            pickle.extend(b"ccollections\nOrderedDict\n)RtRs");
            let values = entry.variable.flatten_all().unwrap().to_vec1::<f32>().unwrap();
            entries
                .push((format!("archive/data/{key}"), values.iter().flat_map(|v| v.to_le_bytes()).collect()));
        }
        pickle
    };
    let pickle = match dictionaries {
        [("", encoder)] => dictionary(encoder),
        _ => {
            let of = |(key, encoder): &(&str, &Parameters)| {
                [text(key), dictionary(encoder), b"s".to_vec()].concat()
            };
            [b"}".to_vec(), dictionaries.iter().flat_map(of).collect()].concat()
        }
    };
    let pickle = [b"\x80\x02".to_vec(), pickle, b".".to_vec()].concat();
    entries.insert(0, ("archive/data.pkl".to_owned(), pickle));
    zip(&entries.iter().map(|(name, bytes)| (name.as_str(), bytes.as_slice())).collect::<Vec<_>>())
}

/// A zip file whose entries are stored without compression.
pub fn zip(entries: &[(&str, &[u8])]) -> Vec<u8> {
    let (mut file, mut directory) = (Vec::new(), Vec::new());
    for (name, bytes) in entries {
        let crc = !bytes.iter().fold(u32::MAX, |crc, byte| {
            (0..8).fold(crc ^ u32::from(*byte), |crc, _| (crc >> 1) ^ (0xEDB8_8320 * (crc & 1)))
        });
        let (size, length) = ((bytes.len() as u32).to_le_bytes(), (name.len() as u16).to_le_bytes());
        // Version 2.0, no flags, stored, no time, checksum, sizes, length of the name, nothing else.
        let about =
            [[20, 0, 0, 0, 0, 0, 0, 0, 0, 0].as_slice(), &crc.to_le_bytes(), &size, &size, &length, &[0; 2]]
                .concat();
        let at = (file.len() as u32).to_le_bytes();
        directory.extend([b"PK\x01\x02\x14\x00", about.as_slice(), &[0; 10], &at, name.as_bytes()].concat());
        file.extend([b"PK\x03\x04", about.as_slice(), name.as_bytes(), bytes].concat());
    }
    let (at, size) = ((file.len() as u32).to_le_bytes(), (directory.len() as u32).to_le_bytes());
    let count = (entries.len() as u16).to_le_bytes();
    file.extend(directory);
    file.extend([b"PK\x05\x06\0\0\0\0".as_slice(), &count, &count, &size, &at, &[0; 2]].concat());
    file
}
