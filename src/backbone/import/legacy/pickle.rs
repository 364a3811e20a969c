//! The subset of Python's pickle format that dictionaries of tensors use.
//!
//! Values are stored in one list and refer to each other by index, so that nothing is copied, however often it is
//! referenced, and nothing is nested in memory.

use std::collections::{BTreeMap, HashMap};

use candle_core::{DType, Error, Result};

/// A value; it refers to other values by their index.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Node {
    Nothing,
    Flag(bool),
    Number(i64),
    Text(String),
    Tuple(Vec<usize>),
    List(Vec<usize>),
    Entries(Vec<(usize, usize)>),
    /// `collections.OrderedDict`, called without arguments.
    OrderedDict,
    /// `torch._utils._rebuild_tensor_v2`.
    RebuildTensor,
    /// A type of storage.
    Kind(DType),
    /// Key of a storage.
    Storage(String),
    Tensor(StoredTensor),
}

/// A tensor's location in a storage.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredTensor {
    /// Key of the storage.
    pub storage: String,
    /// Index of its first number in the storage.
    pub offset: usize,
    pub shape: Vec<usize>,
    /// Distance between neighbouring numbers along each axis.
    pub strides: Vec<usize>,
}

/// A parsed pickle.
#[derive(Default)]
pub struct Pickle {
    nodes: Vec<Node>,
    stack: Vec<usize>,
    /// Heights of the stack at which marks were set.
    marks: Vec<usize>,
    memo: HashMap<u32, usize>,
    /// Type and number of elements of each storage, by its key.
    pub storages: BTreeMap<String, (DType, usize)>,
}

fn truncated() -> Error {
    Error::Msg("truncated: it ends within its list of tensors; copy or download it again".to_owned())
}

fn unsupported() -> Error {
    Error::Msg("a pickle of something other than a dictionary of tensors".to_owned())
}

fn take<const N: usize>(rest: &mut &[u8]) -> Result<[u8; N]> {
    let (first, after) = rest.split_first_chunk::<N>().ok_or_else(truncated)?;
    *rest = after;
    Ok(*first)
}

fn line<'a>(rest: &mut &'a [u8]) -> Result<&'a [u8]> {
    let end = rest.iter().position(|&byte| byte == b'\n').ok_or_else(truncated)?;
    let (line, after) = (&rest[..end], &rest[end + 1..]);
    *rest = after;
    Ok(line)
}

impl Pickle {
    /// Parses one pickle of protocol 2.
    ///
    /// # Errors
    /// If it has an instruction or a name that a dictionary of tensors does not need.
    pub fn read(rest: &mut &[u8]) -> Result<Self> {
        let mut pickle = Self::default();
        if take::<2>(rest)? != *b"\x80\x02" {
            return Err(unsupported());
        }
        loop {
            let [instruction] = take::<1>(rest)?;
            if instruction == b'.' {
                break;
            }
            pickle.step(instruction, rest)?;
        }
        if pickle.stack.len() != 1 || !pickle.marks.is_empty() {
            return Err(unsupported());
        }
        Ok(pickle)
    }

    /// Returns the entries if the value is a dictionary.
    pub fn entries(&self) -> Option<impl Iterator<Item = (&Node, &Node)>> {
        let Node::Entries(entries) = self.top()? else { return None };
        Some(entries.iter().map(|&(key, value)| (&self.nodes[key], &self.nodes[value])))
    }

    /// Returns the value of a key if the pickled value is a dictionary that has it.
    pub fn entry(&self, key: &str) -> Option<&Node> {
        let is_it = |known: &Node| matches!(known, Node::Text(text) if text == key);
        self.entries()?.find(|(known, _)| is_it(known)).map(|(_, value)| value)
    }

    /// Returns the elements if the value is a list.
    pub fn list(&self) -> Option<impl Iterator<Item = &Node>> {
        let Node::List(items) = self.top()? else { return None };
        Some(items.iter().map(|&item| &self.nodes[item]))
    }

    fn top(&self) -> Option<&Node> {
        self.stack.last().map(|&place| &self.nodes[place])
    }

    fn push(&mut self, node: Node) {
        self.stack.push(self.nodes.len());
        self.nodes.push(node);
    }

    fn pop(&mut self) -> Result<usize> {
        // Instructions after a mark must not take values from below it.
        let floor = self.marks.last().copied().unwrap_or(0);
        if self.stack.len() <= floor { Err(unsupported()) } else { self.stack.pop().ok_or_else(unsupported) }
    }

    /// Removes and returns all values above the last mark.
    fn pop_to_mark(&mut self) -> Result<Vec<usize>> {
        let height = self.marks.pop().ok_or_else(unsupported)?;
        Ok(self.stack.split_off(height))
    }

    fn step(&mut self, instruction: u8, rest: &mut &[u8]) -> Result<()> {
        if let Some(node) = literal(instruction, rest)? {
            self.push(node);
            return Ok(());
        }
        match instruction {
            b'(' => self.marks.push(self.stack.len()),
            b't' => {
                let items = self.pop_to_mark()?;
                self.push(Node::Tuple(items));
            }
            0x85..=0x87 => {
                let mut items = Vec::new();
                for _ in 0x84..instruction {
                    items.insert(0, self.pop()?);
                }
                self.push(Node::Tuple(items));
            }
            b'q' | b'r' | b'h' | b'j' => self.remember(instruction, rest)?,
            b's' => {
                let (value, key) = (self.pop()?, self.pop()?);
                self.set(&[key, value])?;
            }
            b'u' => {
                let items = self.pop_to_mark()?;
                self.set(&items)?;
            }
            // Appends a single item; several would follow a mark (`e`).
            b'a' => {
                let item = self.pop()?;
                self.extend([item])?;
            }
            b'e' => {
                let items = self.pop_to_mark()?;
                self.extend(items)?;
            }
            b'Q' => self.storage()?,
            b'R' => self.call()?,
            // Attributes of the dictionary: versions of layers, which are irrelevant.
            b'b' => {
                self.pop()?;
                if !matches!(self.top(), Some(Node::Entries(_))) {
                    return Err(unsupported());
                }
            }
            _ => return Err(unsupported()),
        }
        Ok(())
    }

    /// Stores the top value in the memo under a number, or pushes the value stored under a number.
    fn remember(&mut self, instruction: u8, rest: &mut &[u8]) -> Result<()> {
        let number = match instruction {
            b'q' | b'h' => u32::from(take::<1>(rest)?[0]),
            _ => u32::from_le_bytes(take(rest)?),
        };
        if matches!(instruction, b'q' | b'r') {
            let last = *self.stack.last().ok_or_else(unsupported)?;
            self.memo.insert(number, last);
        } else {
            self.stack.push(*self.memo.get(&number).ok_or_else(unsupported)?);
        }
        Ok(())
    }

    /// Adds items to the list at the top of the stack.
    fn extend(&mut self, items: impl IntoIterator<Item = usize>) -> Result<()> {
        match self.stack.last().map(|&place| &mut self.nodes[place]) {
            Some(Node::List(list)) => list.extend(items),
            _ => return Err(unsupported()),
        }
        Ok(())
    }

    /// Adds alternating keys and values to the dictionary at the top of the stack.
    fn set(&mut self, items: &[usize]) -> Result<()> {
        let (pairs, []) = items.as_chunks::<2>() else { return Err(unsupported()) };
        match self.stack.last().map(|&place| &mut self.nodes[place]) {
            Some(Node::Entries(entries)) => entries.extend(pairs.iter().map(|&[key, value]| (key, value))),
            _ => return Err(unsupported()),
        }
        Ok(())
    }

    /// Evaluates `('storage', type, key, device, count, no view)`.
    fn storage(&mut self) -> Result<()> {
        let tuple = self.pop()?;
        let [storage, kind, key, _, count, view] = self.tuple(tuple)?[..] else { return Err(unsupported()) };
        let (Node::Text(storage), Node::Kind(kind)) = (storage, kind) else { return Err(unsupported()) };
        let (Node::Text(key), Node::Number(count), Node::Nothing) = (key, count, view) else {
            return Err(unsupported());
        };
        let stated = (*kind, usize::try_from(*count).map_err(|_| unsupported())?);
        let key = key.clone();
        if storage != "storage" || self.storages.get(&key).is_some_and(|known| *known != stated) {
            return Err(unsupported());
        }
        self.storages.insert(key.clone(), stated);
        self.push(Node::Storage(key));
        Ok(())
    }

    /// Calls one of the allowed functions: an empty ordered dictionary, or a tensor of `(storage, offset, shape,
    /// strides, whether gradients are wanted, hooks)`.
    fn call(&mut self) -> Result<()> {
        let (arguments, callee) = (self.pop()?, self.pop()?);
        let arguments = self.tuple(arguments)?;
        let made = match (&self.nodes[callee], &arguments[..]) {
            (Node::OrderedDict, []) => Node::Entries(Vec::new()),
            (
                Node::RebuildTensor,
                [
                    Node::Storage(storage),
                    Node::Number(offset),
                    shape,
                    strides,
                    Node::Flag(_),
                    Node::Entries(hooks),
                ],
            ) if hooks.is_empty() => Node::Tensor(StoredTensor {
                storage: storage.clone(),
                offset: usize::try_from(*offset).map_err(|_| unsupported())?,
                shape: self.sizes(shape)?,
                strides: self.sizes(strides)?,
            }),
            _ => return Err(unsupported()),
        };
        if let Node::Tensor(held) = &made
            && held.shape.len() != held.strides.len()
        {
            return Err(unsupported());
        }
        self.push(made);
        Ok(())
    }

    fn tuple(&self, place: usize) -> Result<Vec<&Node>> {
        match &self.nodes[place] {
            Node::Tuple(items) => Ok(items.iter().map(|&item| &self.nodes[item]).collect()),
            _ => Err(unsupported()),
        }
    }

    fn sizes(&self, node: &Node) -> Result<Vec<usize>> {
        let Node::Tuple(items) = node else { return Err(unsupported()) };
        let size = |&item: &usize| match self.nodes[item] {
            Node::Number(number) => usize::try_from(number).map_err(|_| unsupported()),
            _ => Err(unsupported()),
        };
        items.iter().map(size).collect()
    }
}

/// Parses a value that refers to no other value; `None` if the instruction is of another kind.
fn literal(instruction: u8, rest: &mut &[u8]) -> Result<Option<Node>> {
    Ok(Some(match instruction {
        b'N' => Node::Nothing,
        0x88 => Node::Flag(true),
        0x89 => Node::Flag(false),
        b'K' => Node::Number(i64::from(take::<1>(rest)?[0])),
        b'M' => Node::Number(i64::from(u16::from_le_bytes(take(rest)?))),
        b'J' => Node::Number(i64::from(i32::from_le_bytes(take(rest)?))),
        b'X' => {
            let length = u32::from_le_bytes(take(rest)?) as usize;
            let (text, after) = rest.split_at_checked(length).ok_or_else(truncated)?;
            *rest = after;
            Node::Text(std::str::from_utf8(text).map_err(|_| unsupported())?.to_owned())
        }
        b'c' => {
            let (module, name) = (line(rest)?, line(rest)?);
            resolve(module, name)?
        }
        b')' => Node::Tuple(Vec::new()),
        b'}' => Node::Entries(Vec::new()),
        b']' => Node::List(Vec::new()),
        _ => return Ok(None),
    }))
}

/// Resolves a name; only a few are allowed.
fn resolve(module: &[u8], name: &[u8]) -> Result<Node> {
    Ok(match (module, name) {
        (b"collections", b"OrderedDict") => Node::OrderedDict,
        (b"torch._utils", b"_rebuild_tensor_v2") => Node::RebuildTensor,
        (b"torch", b"FloatStorage") => Node::Kind(DType::F32),
        (b"torch", b"DoubleStorage") => Node::Kind(DType::F64),
        (b"torch", b"HalfStorage") => Node::Kind(DType::F16),
        (b"torch", b"BFloat16Storage") => Node::Kind(DType::BF16),
        (b"torch", b"LongStorage") => Node::Kind(DType::I64),
        _ => {
            let [module, name] = [module, name].map(String::from_utf8_lossy);
            refuse!("it names '{module}.{name}', which a dictionary of plain tensors does not need")
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(instructions: &[u8]) -> Result<Pickle> {
        Pickle::read(&mut &[b"\x80\x02", instructions, b"."].concat()[..])
    }

    /// Names and values of a dictionary.
    fn entries(pickle: &Pickle) -> Vec<(Node, Node)> {
        pickle.entries().unwrap().map(|(key, value)| (key.clone(), value.clone())).collect()
    }

    #[test]
    fn values_are_pythons() {
        // {'a': 258, 'b': -2, 'c': None, 'd': False, 'e': 200}
        let pickle = read(
            b"}(X\x01\0\0\0aM\x02\x01X\x01\0\0\0bJ\xfe\xff\xff\xffX\x01\0\0\0cNX\x01\0\0\0d\x89X\x01\0\0\0eK\xc8u",
        )
        .unwrap();
        let expected = [
            ("a", Node::Number(258)),
            ("b", Node::Number(-2)),
            ("c", Node::Nothing),
            ("d", Node::Flag(false)),
            ("e", Node::Number(200)),
        ];
        assert_eq!(
            entries(&pickle),
            expected.clone().map(|(key, value)| (Node::Text(key.to_owned()), value))
        );
        assert!(expected.iter().all(|(key, value)| pickle.entry(key) == Some(value)));
        assert_eq!(pickle.entry("f"), None);
    }

    /// The memo stores the top value, under a number of one byte or four.
    #[test]
    fn values_are_remembered_by_number() {
        let text = |text: &str| Node::Text(text.to_owned());
        for (remember, recall) in [(&b"q\x07"[..], &b"h\x07"[..]), (b"r\x07\x01\0\0", b"j\x07\x01\0\0")] {
            let pickle = read(&[b"}X\x01\0\0\0a", remember, b"K\x01s", recall, b"K\x02s"].concat()).unwrap();
            let expected = [(text("a"), Node::Number(1)), (text("a"), Node::Number(2))];
            assert_eq!(entries(&pickle), expected);
        }
        assert!(read(b"}h\x07K\x02s").is_err(), "never remembered");
        assert!(read(b"}X\x01\0\0\0aq\x07K\x01sj\x07\x01\0\0K\x02s").is_err(), "another number");
    }

    #[test]
    fn tuples_keep_their_order() {
        let number = |number| Node::Number(number);
        for (instructions, expected) in [
            (&b")"[..], vec![]),
            (b"K\x01\x85", vec![1]),
            (b"K\x01K\x02\x86", vec![1, 2]),
            (b"K\x01K\x02K\x03\x87", vec![1, 2, 3]),
            (b"(K\x01K\x02K\x03K\x04t", vec![1, 2, 3, 4]),
        ] {
            let pickle = read(instructions).unwrap();
            let items = pickle.tuple(*pickle.stack.last().unwrap()).unwrap();
            assert_eq!(
                items,
                expected.into_iter().map(number).collect::<Vec<_>>().iter().collect::<Vec<_>>()
            );
        }
        assert!(read(b"K\x01\x86").is_err(), "one value is no pair");
        assert!(read(b"K\x01(K\x02\x86").is_err(), "what lies below a mark is not taken");
    }

    /// Files with many weights set all entries after a single mark.
    #[test]
    fn a_dictionary_may_have_many_entries() {
        let entry = |number: u16| {
            let [low, high] = number.to_le_bytes();
            [&[b'X', 3, 0, 0, 0], format!("{number:03}").as_bytes(), &[b'M', low, high]].concat()
        };
        let pickle =
            read(&[b"}(".to_vec(), (0..700).flat_map(entry).collect(), b"u".to_vec()].concat()).unwrap();
        let expected = (0..700_i64).map(|number| (Node::Text(format!("{number:03}")), Node::Number(number)));
        assert_eq!(entries(&pickle), expected.collect::<Vec<_>>());
    }

    #[test]
    fn one_value_is_left_and_no_mark() {
        assert!(read(b"}").is_ok());
        for odd in
            [&b""[..], b"}}", b"}(", b"K\x01K\x02s", b"}X\x01\0\0\0as", b"}(K\x01u", b"\x8c\x01a", b"]K\x01b"]
        {
            assert!(read(odd).is_err(), "{odd:?}");
        }
        // Attributes of a dictionary are left out.
        assert_eq!(entries(&read(b"}X\x01\0\0\0aK\x01s}b").unwrap()).len(), 1);
        assert!(Pickle::read(&mut &b"\x80\x03}."[..]).is_err(), "another protocol");
    }

    const STORAGE: &[u8] = b"X\x07\0\0\0storage";
    const KIND: &[u8] = b"ctorch\nFloatStorage\n";
    const KEY: &[u8] = b"X\x01\0\0\x007";

    fn refuses(instructions: &[&[u8]]) {
        let found = read(&instructions.concat()).err().map(|error| error.to_string());
        let expected = "a pickle of something other than a dictionary of tensors";
        assert_eq!(found.as_deref(), Some(expected), "{instructions:?}");
    }

    #[test]
    fn a_storage_has_a_type_a_key_and_a_count() {
        let place: &[u8] = b"X\x03\0\0\0cpu";
        let whole: [&[u8]; 8] = [b"(", STORAGE, KIND, KEY, place, b"K\x04", b"N", b"tQ"];
        let found = read(&whole.concat()).unwrap();
        assert_eq!(found.storages, BTreeMap::from([("7".to_owned(), (DType::F32, 4))]));
        assert!(found.entries().is_none() && found.list().is_none() && found.entry("7").is_none());
        // Each part replaced by another, or left out.
        for (part, other) in [
            (1, &b"X\x07\0\0\0storaga"[..]),
            (1, b"K\x01"),
            (2, KEY),
            (3, b"K\x07"),
            (5, b"X\x01\x00\x00\x004"),
            (6, b"\x89"),
            (6, b"K\0"),
            (6, b""),
            (7, b"NtQ"),
            (7, b"tK\x01Q"),
        ] {
            let mut parts = whole;
            parts[part] = other;
            refuses(&parts);
        }
    }

    #[test]
    fn only_tensors_and_empty_dictionaries_are_made() {
        let storage = [b"(", STORAGE, KIND, KEY, b"X\x03\0\0\0cpuK\x04NtQ"].concat();
        let rebuild = b"ctorch._utils\n_rebuild_tensor_v2\n(";
        let (sizes, strides) = (b"K\x02K\x03\x86", b"K\x05K\x01\x86");
        let whole: [&[u8]; 8] = [rebuild, &storage, b"K\x06", sizes, strides, b"\x88", b"}", b"tR"];
        let found = read(&whole.concat()).unwrap();
        let expected =
            StoredTensor { storage: "7".to_owned(), offset: 6, shape: vec![2, 3], strides: vec![5, 1] };
        assert_eq!(found.top(), Some(&Node::Tensor(expected)));
        for (part, other) in [
            (0, &b"ccollections\nOrderedDict\n("[..]),
            (0, b"K\x01("),
            (1, KEY),
            (2, b"N"),
            (3, b"K\x02\x85"),
            (3, b"]"),
            (3, b"K\x02N\x86"),
            (4, b"K\x05K\x01K\x01\x87"),
            (4, b"K\x01"),
            (5, b"K\x01"),
            (6, b"N"),
            (6, b"}X\x01\0\0\0aK\x01s"),
            (7, b"NtR"),
            (7, b"tK\x01R"),
        ] {
            let mut parts = whole;
            parts[part] = other;
            refuses(&parts);
        }
        let empty = read(b"ccollections\nOrderedDict\n)R").unwrap();
        assert_eq!(entries(&empty), []);
        refuses(&[b"ccollections\nOrderedDict\nK\x01\x85R"]);
        refuses(&[b"ccollections\nOrderedDict\nK\x01R"]);
    }

    #[test]
    fn numbers_of_two_bytes_have_no_sign() {
        for (bytes, expected) in [(b"M\xff\xff", 65_535), (b"M\x00\x80", 32_768), (b"M\x01\x02", 513)] {
            assert_eq!(read(bytes).unwrap().top(), Some(&Node::Number(expected)));
        }
    }
}
