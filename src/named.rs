//! Enums whose variants have one spelling, used on command lines, in records and in file names; and counts in text.

/// Returns a count with its noun: `1 cell`, `2 cells`.
pub fn counted(count: usize, one: &str, several: &str) -> String {
    if count == 1 { format!("1 {one}") } else { format!("{count} {several}") }
}

/// Declares an enum whose variants have names: `Variant = "spelling"`. The string after the colon is the noun for a
/// variant in messages.
///
/// It defines `ALL` in the order of declaration, `id`, and the conversions `Display` and `FromStr`, whose error
/// lists the known names.
macro_rules! named {
    (
        $(#[$attribute:meta])*
        $visible:vis enum $name:ident: $kind:literal {
            $($(#[$inner:meta])* $variant:ident = $id:literal),+ $(,)?
        }
    ) => {
        $(#[$attribute])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        $visible enum $name {
            $($(#[$inner])* $variant),+
        }

        impl $name {
            /// All variants, in the order of declaration.
            pub const ALL: [Self; [$($id),+].len()] = [$(Self::$variant),+];

            /// The one spelling used on command lines, in records and in file names.
            pub const fn id(self) -> &'static str {
                match self {
                    $(Self::$variant => $id),+
                }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                formatter.pad(self.id())
            }
        }

        impl std::str::FromStr for $name {
            type Err = anyhow::Error;

            fn from_str(text: &str) -> anyhow::Result<Self> {
                Self::ALL.into_iter().find(|name| name.id() == text).ok_or_else(|| {
                    let known = Self::ALL.map(Self::id).join(", ");
                    anyhow::anyhow!(concat!("no ", $kind, " called '{}'; known: {}"), text, known)
                })
            }
        }
    };
}

pub(crate) use named;

#[cfg(test)]
mod tests {
    named! {
        /// Two sides.
        enum Side: "side" {
            Left = "left",
            Right = "right",
        }
    }

    #[test]
    fn names_are_read_as_written() {
        for side in Side::ALL {
            assert_eq!(side.to_string().parse::<Side>().unwrap(), side);
        }
        assert_eq!(format!("{:<6}|", Side::Left), "left  |");
        let error = "up".parse::<Side>().unwrap_err().to_string();
        assert_eq!(error, "no side called 'up'; known: left, right");
    }

    #[test]
    fn one_is_singular() {
        let counted = |count| super::counted(count, "image has", "images have");
        assert_eq!(
            [0, 1, 2, 21].map(counted),
            ["0 images have", "1 image has", "2 images have", "21 images have"]
        );
    }

    /// A name is its whole spelling: no beginning of it, nothing around it, no other case.
    #[test]
    fn nothing_but_the_whole_name_is_a_name() {
        for text in ["", "l", "lef", "left ", " left", "Left", "LEFT", "leftright", "left,right", "eft"] {
            let error = text.parse::<Side>().unwrap_err().to_string();
            assert_eq!(error, format!("no side called '{text}'; known: left, right"));
        }
    }
}
