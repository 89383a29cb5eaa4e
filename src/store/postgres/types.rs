//! Values between Rust and PostgreSQL's binary format: instants, ids, and the cells of a row.
//!
//! Source: <https://www.postgresql.org/docs/current/protocol-overview.html#PROTOCOL-FORMAT-CODES>, and the `*send`
//! functions of each type.

use sqlx::encode::IsNull;
use sqlx::error::BoxDynError;
use sqlx::postgres::types::Oid;
use sqlx::postgres::{PgArgumentBuffer, PgHasArrayType, PgRow, PgTypeInfo, PgValueFormat};
use sqlx::{Encode, Postgres, Row, Type, TypeInfo, ValueRef};

use crate::model::time::UnixNanos;
use crate::store::columns::Instants;
use crate::store::rows::Cells;

/// 2000-01-01 in microseconds since 1970: where PostgreSQL counts from.
const EPOCH_US: i64 = 946_684_800_000_000;
/// The same in days.
const EPOCH_DAYS: i64 = 10_957;

/// A `timestamptz`: microseconds since 2000. Holds every [`UnixNanos`] but for the nanoseconds below.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Instant(pub i64);

impl Instant {
    pub(super) fn of(at: UnixNanos) -> Self {
        Self((at.as_u64() / 1_000).cast_signed() - EPOCH_US)
    }

    /// The first instant of a day counted from 1970-01-01.
    pub(super) fn of_day(day: u32) -> Self {
        Self(i64::from(day) * 86_400_000_000 - EPOCH_US)
    }
}

/// The nanoseconds, 0 to 999, that a `timestamptz` cannot hold.
pub(super) fn below_microsecond(at: UnixNanos) -> i16 {
    (at.as_u64() % 1_000) as i16
}

impl Type<Postgres> for Instant {
    fn type_info() -> PgTypeInfo {
        PgTypeInfo::with_oid(Oid(1184))
    }
}

impl PgHasArrayType for Instant {
    fn array_type_info() -> PgTypeInfo {
        PgTypeInfo::with_oid(Oid(1185))
    }
}

impl Encode<'_, Postgres> for Instant {
    fn encode_by_ref(&self, buffer: &mut PgArgumentBuffer) -> Result<IsNull, BoxDynError> {
        <i64 as Encode<'_, Postgres>>::encode_by_ref(&self.0, buffer)
    }
}

/// 16 bytes as a `uuid`.
pub(super) fn uuid(bytes: &[u8; 16]) -> uuid::Uuid {
    uuid::Uuid::from_bytes(*bytes)
}

/// A cell's bytes and its type's name.
fn cell(row: &PgRow, at: usize) -> sqlx::Result<Option<(&[u8], PgTypeInfo)>> {
    let value = row.try_get_raw(at)?;
    if value.is_null() {
        return Ok(None);
    }
    if value.format() != PgValueFormat::Binary {
        return Err(sqlx::Error::Decode("the cell came as text".into()));
    }
    let type_info = value.type_info().into_owned();
    let bytes = value.as_bytes().map_err(sqlx::Error::Decode)?;
    Ok(Some((bytes, type_info)))
}

fn mismatch(type_info: &PgTypeInfo, wanted: &str) -> sqlx::Error {
    sqlx::Error::Decode(format!("{} where {wanted} was expected", type_info.name()).into())
}

fn fixed<const N: usize>(bytes: &[u8]) -> sqlx::Result<[u8; N]> {
    bytes.try_into().map_err(|error| sqlx::Error::Decode(Box::new(error)))
}

impl Cells for PgRow {
    fn text(&self, at: usize) -> sqlx::Result<Option<&str>> {
        let Some((bytes, type_info)) = cell(self, at)? else { return Ok(None) };
        match type_info.name() {
            "TEXT" | "JSON" | "VARCHAR" => {
                std::str::from_utf8(bytes).map(Some).map_err(|error| sqlx::Error::Decode(Box::new(error)))
            }
            _ => Err(mismatch(&type_info, "text")),
        }
    }

    /// A date is days since 1970, a truth 0 or 1.
    fn int(&self, at: usize) -> sqlx::Result<Option<i64>> {
        let Some((bytes, type_info)) = cell(self, at)? else { return Ok(None) };
        match type_info.name() {
            "INT8" => Ok(Some(i64::from_be_bytes(fixed(bytes)?))),
            "INT4" => Ok(Some(i64::from(i32::from_be_bytes(fixed(bytes)?)))),
            "INT2" => Ok(Some(i64::from(i16::from_be_bytes(fixed(bytes)?)))),
            "DATE" => Ok(Some(i64::from(i32::from_be_bytes(fixed(bytes)?)) + EPOCH_DAYS)),
            "BOOL" => Ok(Some(i64::from(bytes == [1]))),
            _ => Err(mismatch(&type_info, "a whole number")),
        }
    }

    fn bytes(&self, at: usize) -> sqlx::Result<Option<&[u8]>> {
        let Some((bytes, type_info)) = cell(self, at)? else { return Ok(None) };
        match type_info.name() {
            "BYTEA" | "UUID" => Ok(Some(bytes)),
            _ => Err(mismatch(&type_info, "bytes")),
        }
    }

    const INSTANTS: Instants = Instants::Split;

    fn instant(&self, at: usize) -> sqlx::Result<Option<UnixNanos>> {
        let Some((bytes, type_info)) = cell(self, at)? else { return Ok(None) };
        if type_info.name() != "TIMESTAMPTZ" {
            return Err(mismatch(&type_info, "an instant"));
        }
        let us = i128::from(i64::from_be_bytes(fixed(bytes)?)) + i128::from(EPOCH_US);
        let below = self.int(at + 1)?.unwrap_or_default();
        let nanos = u64::try_from(us * 1_000 + i128::from(below));
        nanos.map(|ns| Some(UnixNanos::new(ns))).map_err(|_| sqlx::Error::Decode("before 1970 or after 2554".into()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::time::DAY_NS;

    #[test]
    fn an_instant_is_a_timestamptz_and_its_nanoseconds() {
        for nanos in [0, 1, 999, 1_000, 946_684_800_000_000_000, 1_767_607_200_123_456_789, u64::MAX] {
            let at = UnixNanos::new(nanos);
            let back = (Instant::of(at).0 + EPOCH_US).cast_unsigned() * 1_000 + below_microsecond(at) as u64;
            assert_eq!(back, nanos);
        }
        assert_eq!(Instant::of(UnixNanos::new(946_684_800_000_000_999)), Instant(0));
        assert_eq!(Instant::of_day(20_458), Instant::of(UnixNanos::new(20_458 * DAY_NS)));
        assert_eq!(Instant::of_day(EPOCH_DAYS as u32), Instant(0));
    }
}
