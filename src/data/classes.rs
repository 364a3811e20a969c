//! The 17 Sewer-ML defect classes, their class-importance weights, and sets of them.
//!
//! Source: Haurum and Moeslund, "Sewer-ML", CVPR 2021: Table 1 (codes, meaning, weights) and
//! Table 7 (counts). Weights (CIW) are Danish guideline points divided by the largest.

/// One defect class, in the column order of the annotation files.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum DefectClass {
    /// Cracks, breaks and collapses.
    RB,
    /// Surface damage.
    OB,
    /// Production error.
    PF,
    /// Deformation.
    DE,
    /// Displaced joint.
    FS,
    /// Intruding sealing material.
    IS,
    /// Roots.
    RO,
    /// Infiltration.
    IN,
    /// Settled deposits.
    AF,
    /// Attached deposits.
    BE,
    /// Obstacle.
    FO,
    /// Branch pipe.
    GR,
    /// Chiselled connection.
    PH,
    /// Drilled connection.
    PB,
    /// Lateral reinstatement cuts.
    OS,
    /// Connection with transition profile.
    OP,
    /// Connection with construction changes.
    OK,
}

use DefectClass::*;

struct Facts {
    class: DefectClass,
    code: &'static str,
    meaning: &'static str,
    importance: f64,
    train_images: u32,
    validation_images: u32,
}

const fn facts(
    class: DefectClass,
    code: &'static str,
    meaning: &'static str,
    importance: f64,
    train_images: u32,
    validation_images: u32,
) -> Facts {
    Facts { class, code, meaning, importance, train_images, validation_images }
}

#[rustfmt::skip]
const FACTS: [Facts; DefectClass::COUNT] = [
    facts(RB, "RB", "cracks, breaks and collapses",         1.0000,  45_821,  5_538),
    facts(OB, "OB", "surface damage",                       0.5518, 184_379, 23_624),
    facts(PF, "PF", "production error",                     0.2896,  16_254,  2_021),
    facts(DE, "DE", "deformation",                          0.1622,  19_084,  2_038),
    facts(FS, "FS", "displaced joint",                      0.6419, 283_983, 36_218),
    facts(IS, "IS", "intruding sealing material",           0.1847,   6_271,    881),
    facts(RO, "RO", "roots",                                0.3559,  22_637,  2_917),
    facts(IN, "IN", "infiltration",                         0.3131,  23_782,  2_812),
    facts(AF, "AF", "settled deposits",                     0.0811,  74_856,  9_059),
    facts(BE, "BE", "attached deposits",                    0.2275,  66_499,  7_929),
    facts(FO, "FO", "obstacle",                             0.2477,   5_010,    597),
    facts(GR, "GR", "branch pipe",                          0.0901,  53_986,  6_889),
    facts(PH, "PH", "chiseled connection",                  0.4167,  23_685,  3_432),
    facts(PB, "PB", "drilled connection",                   0.4167,   6_746,    765),
    facts(OS, "OS", "lateral reinstatement cuts",           0.9009,   4_625,    457),
    facts(OP, "OP", "connection with transition profile",   0.3829,   5_325,    612),
    facts(OK, "OK", "connection with construction changes", 0.4396, 154_624, 19_655),
];

impl DefectClass {
    /// Number of classes.
    pub const COUNT: usize = 17;
    /// All classes, in the column order of the annotation files.
    pub const ALL: [Self; Self::COUNT] = {
        let mut all = [RB; Self::COUNT];
        let mut i = 0;
        while i < Self::COUNT {
            all[i] = FACTS[i].class;
            i += 1;
        }
        all
    };

    /// Returns the column name in the annotation files.
    pub fn code(self) -> &'static str {
        self.facts().code
    }

    /// Returns the meaning in plain words.
    pub fn meaning(self) -> &'static str {
        self.facts().meaning
    }

    /// Returns the class-importance weight (CIW), 0..=1.
    pub fn importance(self) -> f64 {
        self.facts().importance
    }

    /// Returns the number of images of the Sewer-ML training split that show this class (of 487,309 with any defect).
    pub fn train_images(self) -> u32 {
        self.facts().train_images
    }

    /// Returns the number of images of the Sewer-ML validation split that show this class (of 61,365 with any
    /// defect).
    pub fn validation_images(self) -> u32 {
        self.facts().validation_images
    }

    fn facts(self) -> &'static Facts {
        &FACTS[self as usize]
    }
}

/// A set of defect classes: bit `i` is [`DefectClass::ALL`]`[i]`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClassSet(u32);

impl ClassSet {
    /// No class: a normal image, or one of data without classes.
    pub const EMPTY: Self = Self(0);

    /// Returns this set with `class` added.
    #[must_use]
    pub fn with(self, class: DefectClass) -> Self {
        Self(self.0 | 1 << class as u32)
    }

    /// Whether `class` is in the set.
    pub fn contains(self, class: DefectClass) -> bool {
        self.0 & (1 << class as u32) != 0
    }

    /// Whether no class is in the set.
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Returns the number of classes in the set, 0..=17.
    pub fn len(self) -> usize {
        self.0.count_ones() as usize
    }

    /// Returns the classes in the set, in column order.
    pub fn iter(self) -> impl Iterator<Item = DefectClass> {
        DefectClass::ALL.into_iter().filter(move |&class| self.contains(class))
    }

    /// Returns the 17 bits, bit `i` for column `i`: a stratum for splits that respect class combinations.
    pub fn bits(self) -> u32 {
        self.0
    }

    /// Returns the set with these bits; `None` if a bit belongs to no class.
    pub fn from_bits(bits: u32) -> Option<Self> {
        (bits >> DefectClass::ALL.len() == 0).then_some(Self(bits))
    }
}

impl FromIterator<DefectClass> for ClassSet {
    fn from_iter<I: IntoIterator<Item = DefectClass>>(classes: I) -> Self {
        classes.into_iter().fold(Self::EMPTY, Self::with)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn importance_sums_as_published() {
        // 6.7024: the sum of the 17 weights of Table 1, added by hand.
        let sum: f64 = DefectClass::ALL.iter().map(|class| class.importance()).sum();
        assert!((sum - 6.7024).abs() < 1e-9, "{sum}");
    }

    #[test]
    fn sets_hold_what_they_are_given() {
        let set = ClassSet::from_iter([RO, OK]);
        assert_eq!(set.iter().collect::<Vec<_>>(), [RO, OK]);
        assert_eq!(set.bits(), 1 << 6 | 1 << 16);
        assert_eq!((set.len(), set.is_empty()), (2, false));
        assert_eq!((ClassSet::from_bits(set.bits()), ClassSet::from_bits(1 << 17)), (Some(set), None));
        assert!(ClassSet::EMPTY.is_empty() && !ClassSet::EMPTY.contains(RB));
        for (i, class) in DefectClass::ALL.into_iter().enumerate() {
            assert_eq!(class as usize, i, "{}", class.code());
        }
    }

    /// Haurum and Moeslund 2021: weights of Table 1, counts of Table 7.
    #[test]
    fn facts_are_those_of_the_paper() {
        let published = [
            ("RB", 1.0, 45_821, 5_538),
            ("OB", 0.5518, 184_379, 23_624),
            ("PF", 0.2896, 16_254, 2_021),
            ("DE", 0.1622, 19_084, 2_038),
            ("FS", 0.6419, 283_983, 36_218),
            ("IS", 0.1847, 6_271, 881),
            ("RO", 0.3559, 22_637, 2_917),
            ("IN", 0.3131, 23_782, 2_812),
            ("AF", 0.0811, 74_856, 9_059),
            ("BE", 0.2275, 66_499, 7_929),
            ("FO", 0.2477, 5_010, 597),
            ("GR", 0.0901, 53_986, 6_889),
            ("PH", 0.4167, 23_685, 3_432),
            ("PB", 0.4167, 6_746, 765),
            ("OS", 0.9009, 4_625, 457),
            ("OP", 0.3829, 5_325, 612),
            ("OK", 0.4396, 154_624, 19_655),
        ];
        let found = DefectClass::ALL
            .map(|class| (class.code(), class.importance(), class.train_images(), class.validation_images()));
        assert_eq!(found, published);
        for (class, meaning) in
            [(RB, "cracks, breaks and collapses"), (IN, "infiltration"), (PB, "drilled connection")]
        {
            assert_eq!(class.meaning(), meaning);
        }
        let meanings: std::collections::BTreeSet<&str> = DefectClass::ALL.map(DefectClass::meaning).into();
        assert_eq!(meanings.len(), 17);
    }
}
