//! The sample: a small shop in a SQLite file, for whoever wants to see Coffre work before trusting it with something real.

use std::path::{Path, PathBuf};

use coffre_model::address::Address;
use coffre_model::{Code, Error, Result};
use rusqlite::{Connection, params};

/// A sample that was made, or found.
pub struct Sample {
    /// The file.
    pub path: PathBuf,
    /// Its address as a source.
    pub address: String,
    /// Rows in all its tables.
    pub rows: u64,
}

const CUSTOMERS: u32 = 400;
const PRODUCTS: u32 = 120;
const ORDERS: u32 = 1_500;

/// Makes `shop.db` in a folder (made where it does not exist); one that is there already is used as it is.
///
/// # Errors
/// `REFUSED` where a file of that name is something else; `INTERNAL` for what the disk says.
pub fn make_shop(folder: &Path) -> Result<Sample> {
    std::fs::create_dir_all(folder).map_err(|e| Error::internal("make the sample's folder", e))?;
    let path = folder.join("shop.db");
    let fresh = !path.exists();
    let mut connection = Connection::open(&path).map_err(|e| wrong(&path, &e))?;
    if fresh {
        fill(&mut connection).map_err(|e| wrong(&path, &e))?;
    }
    let rows = ["customers", "products", "orders", "order_lines"]
        .iter()
        .try_fold(0, |sum, table| {
            let count: i64 = connection
                .query_row(&format!("SELECT count(*) FROM {table}"), [], |r| r.get(0))
                .map_err(|e| wrong(&path, &e))?;
            Ok(sum + count.unsigned_abs())
        })?;
    connection.close().map_err(|(_, e)| wrong(&path, &e))?;
    Ok(Sample {
        address: address(&path)?,
        path,
        rows,
    })
}

fn wrong(path: &Path, error: &rusqlite::Error) -> Error {
    Error::new(Code::Refused, "sample_exists")
        .with("path", path.display().to_string())
        .with("cause", error.to_string())
}

/// A SQLite file's address.
pub fn address(path: &Path) -> Result<String> {
    let wrong = || Error::new(Code::Usage, "file_path").with("path", path.display().to_string());
    let path = std::path::absolute(path).map_err(|_| wrong())?;
    let path = path.to_str().ok_or_else(wrong)?.to_owned();
    let address = Address {
        scheme: "sqlite".to_owned(),
        user: None,
        host: None,
        port: None,
        path,
        query: std::collections::BTreeMap::new(),
    };
    Ok(address.to_string())
}

/// Fills the shop. The same every time: a small generator instead of chance.
fn fill(connection: &mut Connection) -> rusqlite::Result<()> {
    const FIRST: [&str; 10] = [
        "Ada", "Blaise", "Camille", "Denis", "Élodie", "Farid", "Grace", "Hugo", "Inès", "Jules",
    ];
    const LAST: [&str; 10] = [
        "Martin", "Nguyễn", "Okafor", "Petit", "Quéré", "Rossi", "Smith", "Tremblay", "Weber", "Yilmaz",
    ];
    const THING: [&str; 8] = ["Lamp", "Chair", "Notebook", "Kettle", "Backpack", "Clock", "Mug", "Shelf"];
    const STATE: [&str; 4] = ["paid", "shipped", "delivered", "returned"];
    let mut seed: u32 = 20_261_121;
    let mut next = |below: u32| {
        seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (seed >> 8) % below
    };
    let pick = |list: &[&'static str], at: u32| list[at as usize % list.len()];
    let transaction = connection.transaction()?;
    transaction.execute_batch(
        "CREATE TABLE customers (id INTEGER PRIMARY KEY, name TEXT NOT NULL, email TEXT NOT NULL UNIQUE, since TEXT NOT NULL);
         CREATE TABLE products (id INTEGER PRIMARY KEY, name TEXT NOT NULL, price_cents INTEGER NOT NULL CHECK (price_cents > 0));
         CREATE TABLE orders (id INTEGER PRIMARY KEY, customer_id INTEGER NOT NULL REFERENCES customers (id),
             state TEXT NOT NULL, ordered_at TEXT NOT NULL);
         CREATE TABLE order_lines (order_id INTEGER NOT NULL REFERENCES orders (id), line INTEGER NOT NULL,
             product_id INTEGER NOT NULL REFERENCES products (id), quantity INTEGER NOT NULL CHECK (quantity > 0),
             PRIMARY KEY (order_id, line)) WITHOUT ROWID;
         CREATE INDEX orders_customer ON orders (customer_id);
         CREATE VIEW revenue AS SELECT o.id AS order_id, sum(l.quantity * p.price_cents) AS cents
             FROM orders o JOIN order_lines l ON l.order_id = o.id JOIN products p ON p.id = l.product_id GROUP BY o.id;
         PRAGMA user_version = 1;",
    )?;
    for id in 1..=CUSTOMERS {
        let name = format!("{} {}", pick(&FIRST, next(100)), pick(&LAST, next(100)));
        let since = format!("20{:02}-{:02}-{:02}", 18 + next(8), 1 + next(12), 1 + next(28));
        transaction.execute(
            "INSERT INTO customers VALUES (?, ?, ?, ?)",
            params![id, name, format!("customer{id}@shop.example"), since],
        )?;
    }
    for id in 1..=PRODUCTS {
        let name = format!("{} {id}", pick(&THING, next(100)));
        transaction.execute("INSERT INTO products VALUES (?, ?, ?)", params![id, name, 199 + next(20_000)])?;
    }
    for id in 1..=ORDERS {
        let at = format!(
            "2026-{:02}-{:02}T{:02}:{:02}:00Z",
            1 + next(11),
            1 + next(28),
            next(24),
            next(60)
        );
        let row = params![id, 1 + next(CUSTOMERS), pick(&STATE, next(100)), at];
        transaction.execute("INSERT INTO orders VALUES (?, ?, ?, ?)", row)?;
        for line in 1..=1 + next(4) {
            let row = params![id, line, 1 + next(PRODUCTS), 1 + next(5)];
            transaction.execute("INSERT INTO order_lines VALUES (?, ?, ?, ?)", row)?;
        }
    }
    transaction.commit()?;
    connection.pragma_update(None, "journal_mode", "wal")
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_shop_is_the_same_every_time_and_used_as_it_is_found() {
        let folder = tempfile::tempdir().unwrap();
        let first = super::make_shop(folder.path()).unwrap();
        assert!(first.rows > 3_000, "{}", first.rows);
        assert_eq!(super::make_shop(folder.path()).unwrap().rows, first.rows);
    }
}
