//! Protocol buffers on the wire (protobuf.dev/programming-guides/encoding), as far as scalars of TensorBoard need them.

/// Why bytes are no message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Malformed(pub(super) &'static str);

/// The value of a field.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Field<'a> {
    Varint(u64),
    Fixed64(u64),
    Bytes(&'a [u8]),
    Fixed32(u32),
}

/// The fields of a message, in the order in which they were written.
pub(super) struct Fields<'a> {
    rest: &'a [u8],
}

impl<'a> Fields<'a> {
    pub(super) fn new(message: &'a [u8]) -> Self {
        Self { rest: message }
    }

    fn varint(&mut self) -> Result<u64, Malformed> {
        let mut value = 0;
        for (at, byte) in self.rest.iter().enumerate().take(10) {
            value |= u64::from(byte & 0x7f) << (7 * at);
            if byte & 0x80 == 0 {
                self.rest = &self.rest[at + 1..];
                return Ok(value);
            }
        }
        Err(Malformed("a number has no end"))
    }

    fn take(&mut self, count: u64) -> Result<&'a [u8], Malformed> {
        let (taken, rest) = usize::try_from(count)
            .ok()
            .and_then(|count| self.rest.split_at_checked(count))
            .ok_or(Malformed("a field ends behind its message"))?;
        self.rest = rest;
        Ok(taken)
    }

    fn field(&mut self) -> Result<(u64, Field<'a>), Malformed> {
        let key = self.varint()?;
        let field = match key & 7 {
            0 => Field::Varint(self.varint()?),
            1 => Field::Fixed64(super::little(self.take(8)?)),
            2 => {
                let length = self.varint()?;
                Field::Bytes(self.take(length)?)
            }
            5 => Field::Fixed32(super::little(self.take(4)?) as u32),
            // groups went out of use before TensorBoard came
            _ => return Err(Malformed("a field has a type that is not in use")),
        };
        match key >> 3 {
            0 => Err(Malformed("a field has the number 0")),
            number => Ok((number, field)),
        }
    }
}

impl<'a> Iterator for Fields<'a> {
    type Item = Result<(u64, Field<'a>), Malformed>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let field = self.field();
        if field.is_err() {
            self.rest = &[];
        }
        Some(field)
    }
}

/// Tag and number of a `Summary.Value` that is a scalar.
pub(super) fn scalar(value: &[u8]) -> Result<Option<(String, f64)>, Malformed> {
    let (mut tag, mut number, mut scalars) = (None, None, true);
    for field in Fields::new(value) {
        match field? {
            (1, Field::Bytes(text)) => tag = Some(String::from_utf8_lossy(text).into_owned()),
            (2, Field::Fixed32(bits)) => number = Some(f64::from(f32::from_bits(bits))),
            (8, Field::Bytes(message)) => number = tensor(message)?,
            // metadata, the plugin's data in them, its name in those
            (9, Field::Bytes(metadata)) => {
                for field in Fields::new(metadata) {
                    let (1, Field::Bytes(plugin)) = field? else {
                        continue;
                    };
                    for field in Fields::new(plugin) {
                        if let (1, Field::Bytes(name)) = field? {
                            scalars = name.is_empty() || name == b"scalars";
                        }
                    }
                }
            }
            _ => {}
        }
    }
    Ok(tag
        .filter(|tag| scalars && !tag.trim().is_empty())
        .zip(number))
}

/// The number of a tensor that holds exactly one.
fn tensor(message: &[u8]) -> Result<Option<f64>, Malformed> {
    let (mut kind, mut content, mut listed, mut one) = (0, None, None, true);
    for field in Fields::new(message) {
        match field? {
            (1, Field::Varint(number)) => kind = number,
            (2, Field::Bytes(shape)) => {
                for field in Fields::new(shape) {
                    // a dimension without a size has the size 0
                    if let (2, Field::Bytes(dimension)) = field? {
                        let size = Fields::new(dimension)
                            .filter_map(Result::ok)
                            .find(|(number, _)| *number == 1);
                        one &= size == Some((1, Field::Varint(1)));
                    }
                }
            }
            (4, Field::Bytes(bytes)) => content = Some(bytes),
            (number @ (5..=7 | 10 | 11 | 13 | 16 | 17), value) => {
                listed = Some((number, value));
            }
            _ => {}
        }
    }
    if !one {
        return Ok(None);
    }
    Ok(match (content, listed) {
        (Some(bytes), _) if !bytes.is_empty() => of_bytes(kind, bytes),
        (_, Some((number, value))) => of_list(kind, number, value)?,
        // proto3 writes no zeros: a tensor of one number without a value is a zero
        _ => matches!(kind, 1..=6 | 9 | 10 | 14 | 17 | 19 | 22 | 23).then_some(0.0),
    })
}

/// A number as memory has it, by its `DataType`.
fn of_bytes(kind: u64, bytes: &[u8]) -> Option<f64> {
    let bits = (bytes.len() <= 8).then(|| super::little(bytes))?;
    let signed = |width: u32| ((bits << (64 - width)).cast_signed() >> (64 - width)) as f64;
    match (kind, bytes.len()) {
        (1, 4) => Some(f64::from(f32::from_bits(bits as u32))),
        (2, 8) => Some(f64::from_bits(bits)),
        (3, 4) => Some(signed(32)),
        (5, 2) => Some(signed(16)),
        (6, 1) => Some(signed(8)),
        (9, 8) => Some(signed(64)),
        (4, 1) | (10, 1) | (17, 2) | (22, 4) | (23, 8) => Some(bits as f64),
        (14, 2) => Some(f64::from(f32::from_bits((bits as u32) << 16))),
        (19, 2) => Some(half(bits as u16)),
        _ => None,
    }
}

/// The one number of a list of values; lists are packed or not.
fn of_list(kind: u64, number: u64, value: Field<'_>) -> Result<Option<f64>, Malformed> {
    let bits = match (number, value) {
        (5, Field::Bytes(bytes)) if bytes.len() == 4 => super::little(bytes),
        (6, Field::Bytes(bytes)) if bytes.len() == 8 => super::little(bytes),
        (5 | 6, Field::Bytes(_)) => return Ok(None),
        (_, Field::Bytes(bytes)) => {
            let mut fields = Fields::new(bytes);
            let value = fields.varint()?;
            if !fields.rest.is_empty() {
                return Ok(None);
            }
            value
        }
        (_, Field::Varint(bits) | Field::Fixed64(bits)) => bits,
        (_, Field::Fixed32(bits)) => bits.into(),
    };
    Ok(match (number, kind) {
        (5, _) => Some(f64::from(f32::from_bits(bits as u32))),
        (6, _) => Some(f64::from_bits(bits)),
        // brain floats and halves stand in the same list as their bits
        (13, 14) => Some(f64::from(f32::from_bits((bits as u32) << 16))),
        (13, _) => Some(half(bits as u16)),
        (16 | 17, _) => Some(bits as f64),
        _ => Some(bits.cast_signed() as f64),
    })
}

/// IEEE 754 half precision.
fn half(bits: u16) -> f64 {
    let sign = if bits >> 15 == 1 { -1.0 } else { 1.0 };
    let (exponent, fraction) = (i32::from((bits >> 10) & 0x1f), f64::from(bits & 0x3ff));
    sign * match exponent {
        0 => fraction * 2f64.powi(-24),
        31 if fraction == 0.0 => f64::INFINITY,
        31 => f64::NAN,
        _ => (1.0 + fraction / 1024.0) * 2f64.powi(exponent - 15),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_of_every_kind() {
        assert_eq!(of_bytes(2, &2.5f64.to_le_bytes()), Some(2.5));
        assert_eq!(of_bytes(3, &(-7i32).to_le_bytes()), Some(-7.0));
        assert_eq!(of_bytes(9, &(-7i64).to_le_bytes()), Some(-7.0));
        assert_eq!(of_bytes(14, &[0x20, 0x40]), Some(2.5));
        assert_eq!(of_bytes(19, &[0x00, 0x41]), Some(2.5));
        assert_eq!(of_bytes(1, &[0; 3]), None);
        assert_eq!(
            (half(0x0001), half(0xfc00)),
            (2f64.powi(-24), f64::NEG_INFINITY)
        );
        assert!(half(0x7e00).is_nan());
    }

    #[test]
    fn damage_is_told() {
        let broken = |bytes: &[u8]| Fields::new(bytes).find_map(Result::err).is_some();
        assert!(broken(&[0x80]) && broken(&[0x0a, 5, 1]) && broken(&[0x0b]) && broken(&[0x00, 1]));
        assert!(broken(&[0xff; 12]) && broken(&[0x09, 1, 2]));
        assert!(!broken(&[0x08, 1, 0x15, 0, 0, 0, 0]));
    }
}
