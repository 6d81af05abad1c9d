//! Enums that may grow: a symbol that this build does not know reads as the enum's default.
//!
//! Serde's own `other` must be the last variant, which would turn the order of severities and
//! states around; hence a macro.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Visitor};

/// Looks a symbol up while it is read.
pub(crate) struct Find<V>(pub(crate) fn(&str) -> Option<V>);

impl<'de, V> DeserializeSeed<'de> for Find<V> {
    type Value = Option<V>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Option<V>, D::Error> {
        deserializer.deserialize_identifier(self)
    }
}

impl<'de, V> Visitor<'de> for Find<V> {
    type Value = Option<V>;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("a symbol")
    }

    fn visit_str<E>(self, symbol: &str) -> Result<Option<V>, E> {
        Ok((self.0)(symbol))
    }
}

/// Implements names, reading and writing for an enum of the contract. The first argument says the
/// enum's name, the list its variants in the schema's order with their symbols.
macro_rules! open_enum {
    ($name:ident { $($variant:ident = $symbol:literal,)+ }) => {
        impl $name {
            /// Every variant, in the schema's order.
            pub const ALL: &[Self] = &[$(Self::$variant),+];

            /// Its symbol in the schema.
            pub fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $symbol,)+
                }
            }

            /// The variant of a symbol.
            pub fn of_symbol(symbol: &str) -> Option<Self> {
                match symbol {
                    $($symbol => Some(Self::$variant),)+
                    _ => None,
                }
            }
        }

        impl crate::wire::Wire for $name {
            fn put(&self, out: &mut Vec<u8>) {
                crate::wire::put_long(i64::from(*self as u32), out);
            }

            fn get(from: &mut crate::wire::Cursor<'_>) -> Result<Self, crate::wire::Break> {
                let index = from.choice(Self::ALL.len())?;
                Ok(Self::ALL.get(index).copied().unwrap_or_default())
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                out.write_str(self.as_str())
            }
        }

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_unit_variant(
                    stringify!($name),
                    *self as u32,
                    self.as_str(),
                )
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                struct Symbol;

                impl<'de> serde::de::Visitor<'de> for Symbol {
                    type Value = $name;

                    fn expecting(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                        out.write_str(concat!("a symbol of ", stringify!($name)))
                    }

                    fn visit_enum<A: serde::de::EnumAccess<'de>>(
                        self,
                        access: A,
                    ) -> Result<$name, A::Error> {
                        let (variant, rest) =
                            access.variant_seed(crate::open_enum::Find($name::of_symbol))?;
                        serde::de::VariantAccess::unit_variant(rest)?;
                        Ok(variant.unwrap_or_default())
                    }
                }

                deserializer.deserialize_enum(stringify!($name), &[$($symbol),+], Symbol)
            }
        }
    };
}
pub(crate) use open_enum;
