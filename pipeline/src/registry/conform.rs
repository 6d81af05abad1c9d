//! Arrays of one type as another that means the same: what Avro decodes to, what Delta keeps, what an older table lacks.

use datafusion::arrow::array::{Array, ArrayRef, ListArray, MapArray, StructArray, new_null_array};
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::{DataType, Field, FieldRef, Fields, TimeUnit};
use datafusion::arrow::error::ArrowError;
use std::sync::Arc;

/// The type that tables keep: words instead of dictionaries, times in microseconds (Delta's unit), everything nullable, so
/// that a later schema may add to it.
pub(super) fn plain(kind: &DataType) -> DataType {
    let again = |field: &FieldRef| -> FieldRef {
        Arc::new(Field::new(field.name(), plain(field.data_type()), true))
    };
    match kind {
        DataType::Dictionary(_, value) => plain(value),
        DataType::Timestamp(_, zone) => {
            DataType::Timestamp(TimeUnit::Microsecond, zone.as_ref().map(|_| "UTC".into()))
        }
        DataType::List(item) => DataType::List(Arc::new(Field::new(
            "element",
            plain(item.data_type()),
            true,
        ))),
        DataType::Struct(members) => DataType::Struct(members.iter().map(again).collect()),
        DataType::Map(entries, is_sorted) => match entries.data_type() {
            DataType::Struct(pair) if pair.len() == 2 => {
                let key = Field::new("key", plain(pair[0].data_type()), false);
                let value = Field::new("value", plain(pair[1].data_type()), true);
                let pair = DataType::Struct(Fields::from(vec![key, value]));
                DataType::Map(Arc::new(Field::new("key_value", pair, false)), *is_sorted)
            }
            _ => kind.clone(),
        },
        other => other.clone(),
    }
}

/// The array as this type: members by name, those that it lacks null, those that the type lacks left out.
///
/// # Errors
/// A value that the type cannot hold.
pub(super) fn conform(array: &ArrayRef, to: &DataType) -> Result<ArrayRef, ArrowError> {
    if array.data_type() == to {
        return Ok(array.clone());
    }
    match to {
        DataType::Struct(fields) => {
            let Some(found) = array.as_any().downcast_ref::<StructArray>() else {
                return cast(array, to);
            };
            let members = fields
                .iter()
                .map(|field| match found.column_by_name(field.name()) {
                    Some(member) => conform(member, field.data_type()),
                    None => Ok(new_null_array(field.data_type(), found.len())),
                })
                .collect::<Result<Vec<_>, _>>()?;
            Ok(Arc::new(StructArray::try_new(
                fields.clone(),
                members,
                found.nulls().cloned(),
            )?))
        }
        DataType::List(item) => {
            let Some(found) = array.as_any().downcast_ref::<ListArray>() else {
                return cast(array, to);
            };
            Ok(Arc::new(ListArray::try_new(
                item.clone(),
                found.offsets().clone(),
                conform(found.values(), item.data_type())?,
                found.nulls().cloned(),
            )?))
        }
        DataType::Map(entries, is_sorted) => {
            let (Some(found), DataType::Struct(pair)) = (
                array.as_any().downcast_ref::<MapArray>(),
                entries.data_type(),
            ) else {
                return cast(array, to);
            };
            let halves = vec![
                conform(found.keys(), pair[0].data_type())?,
                conform(found.values(), pair[1].data_type())?,
            ];
            Ok(Arc::new(MapArray::try_new(
                entries.clone(),
                found.offsets().clone(),
                StructArray::try_new(pair.clone(), halves, None)?,
                found.nulls().cloned(),
                *is_sorted,
            )?))
        }
        _ => cast(array, to),
    }
}
