//! Between rows and types: times, ids, words and JSON. Whatever cannot be read is `CATALOGUE_CORRUPT`, never a panic and never a
//! default.

use chrono::{DateTime, NaiveDateTime, SubsecRound, Utc};
use coffre_model::{Error, Id};
use rusqlite::{Connection, Params, Row};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::fault::{Fault, strange};

/// How times are written: always 24 characters, so that the order of the text is the order of time.
const TIME: &str = "%Y-%m-%dT%H:%M:%S%.3fZ";

/// A time as the catalogue writes it, cut to milliseconds.
pub(crate) fn time_text(time: DateTime<Utc>) -> String {
    time.trunc_subsecs(3).format(TIME).to_string()
}

/// A time as the catalogue gives it back: cut to milliseconds.
pub fn to_millis(time: DateTime<Utc>) -> DateTime<Utc> {
    time.trunc_subsecs(3)
}

pub(super) fn opt_time(time: Option<DateTime<Utc>>) -> Option<String> {
    time.map(time_text)
}

pub(super) fn opt_id(id: Option<&Id>) -> Option<String> {
    id.map(Id::to_string)
}

/// A size or count for SQLite, whose integers are signed.
pub(super) fn number(value: u64) -> Result<i64, Fault> {
    i64::try_from(value).map_err(|_| Fault::Ours(Error::internal("catalogue", format!("{value} is too large"))))
}

pub(super) fn opt_number(value: Option<u64>) -> Result<Option<i64>, Fault> {
    value.map(number).transpose()
}

pub(super) fn json(value: &impl Serialize) -> Result<String, Fault> {
    serde_json::to_string(value).map_err(|e| Fault::Ours(Error::internal("json", e)))
}

pub(super) fn opt_json<T: Serialize>(value: Option<&T>) -> Result<Option<String>, Fault> {
    value.map(json).transpose()
}

/// A row being read; `table` is for the errors.
pub(super) struct Reading<'a, 'r> {
    pub(super) table: &'static str,
    pub(super) row: &'a Row<'r>,
}

impl Reading<'_, '_> {
    fn wrong(&self, column: &str, value: &str) -> Fault {
        Fault::Ours(strange(&format!("{}.{column}", self.table), value))
    }

    pub(super) fn text(&self, column: &str) -> Result<String, Fault> {
        Ok(self.row.get(column)?)
    }

    pub(super) fn opt_text(&self, column: &str) -> Result<Option<String>, Fault> {
        Ok(self.row.get(column)?)
    }

    pub(super) fn flag(&self, column: &str) -> Result<bool, Fault> {
        match self.row.get::<_, i64>(column)? {
            0 => Ok(false),
            1 => Ok(true),
            other => Err(self.wrong(column, &other.to_string())),
        }
    }

    pub(super) fn number(&self, column: &str) -> Result<u64, Fault> {
        let value: i64 = self.row.get(column)?;
        u64::try_from(value).map_err(|_| self.wrong(column, &value.to_string()))
    }

    pub(super) fn opt_number(&self, column: &str) -> Result<Option<u64>, Fault> {
        let value: Option<i64> = self.row.get(column)?;
        value
            .map(|v| u64::try_from(v).map_err(|_| self.wrong(column, &v.to_string())))
            .transpose()
    }

    pub(super) fn id(&self, column: &str) -> Result<Id, Fault> {
        let text = self.text(column)?;
        text.parse().map_err(|()| self.wrong(column, &text))
    }

    pub(super) fn opt_id(&self, column: &str) -> Result<Option<Id>, Fault> {
        self.opt_text(column)?
            .map(|text| text.parse().map_err(|()| self.wrong(column, &text)))
            .transpose()
    }

    pub(super) fn time(&self, column: &str) -> Result<DateTime<Utc>, Fault> {
        let text = self.text(column)?;
        self.read_time(column, &text)
    }

    pub(super) fn opt_time(&self, column: &str) -> Result<Option<DateTime<Utc>>, Fault> {
        self.opt_text(column)?.map(|text| self.read_time(column, &text)).transpose()
    }

    fn read_time(&self, column: &str, text: &str) -> Result<DateTime<Utc>, Fault> {
        if text.len() != 24 {
            return Err(self.wrong(column, text));
        }
        NaiveDateTime::parse_from_str(text, TIME)
            .map(|time| time.and_utc())
            .map_err(|_| self.wrong(column, text))
    }

    pub(super) fn word<T>(&self, column: &str, parse: impl Fn(&str) -> Option<T>) -> Result<T, Fault> {
        let text = self.text(column)?;
        parse(&text).ok_or_else(|| self.wrong(column, &text))
    }

    pub(super) fn opt_word<T>(&self, column: &str, parse: impl Fn(&str) -> Option<T>) -> Result<Option<T>, Fault> {
        self.opt_text(column)?
            .map(|text| parse(&text).ok_or_else(|| self.wrong(column, &text)))
            .transpose()
    }

    pub(super) fn json<T: DeserializeOwned>(&self, column: &str) -> Result<T, Fault> {
        let text = self.text(column)?;
        serde_json::from_str(&text).map_err(|e| self.wrong(column, &e.to_string()))
    }

    pub(super) fn opt_json<T: DeserializeOwned>(&self, column: &str) -> Result<Option<T>, Fault> {
        self.opt_text(column)?
            .map(|text| serde_json::from_str(&text).map_err(|e| self.wrong(column, &e.to_string())))
            .transpose()
    }
}

/// Every row of a query.
pub(super) fn all<T>(
    connection: &Connection,
    table: &'static str,
    sql: &str,
    params: impl Params,
    read: impl Fn(&Reading<'_, '_>) -> Result<T, Fault>,
) -> Result<Vec<T>, Fault> {
    let mut statement = connection.prepare_cached(sql)?;
    let mut rows = statement.query(params)?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        found.push(read(&Reading { table, row })?);
    }
    Ok(found)
}

/// The first row of a query, if there is one.
pub(super) fn one<T>(
    connection: &Connection,
    table: &'static str,
    sql: &str,
    params: impl Params,
    read: impl Fn(&Reading<'_, '_>) -> Result<T, Fault>,
) -> Result<Option<T>, Fault> {
    let mut statement = connection.prepare_cached(sql)?;
    let mut rows = statement.query(params)?;
    match rows.next()? {
        Some(row) => Ok(Some(read(&Reading { table, row })?)),
        None => Ok(None),
    }
}

/// A count.
pub(super) fn count(connection: &Connection, sql: &str, params: impl Params) -> Result<u64, Fault> {
    let value: i64 = connection.prepare_cached(sql)?.query_row(params, |row| row.get(0))?;
    number_back(value)
}

pub(super) fn number_back(value: i64) -> Result<u64, Fault> {
    u64::try_from(value).map_err(|_| Fault::Ours(strange("count", value)))
}

/// Changes rows; answers how many.
pub(super) fn change(connection: &Connection, sql: &str, params: impl Params) -> Result<usize, Fault> {
    Ok(connection.prepare_cached(sql)?.execute(params)?)
}
