//! Which tables are dumped.

use coffre_model::Code;
use coffre_model::source::SourceOptions;
use coffre_testkit::postgres::{Postgres, Version};

use crate::common::{SHOP, Setup, shop_counts};

fn shop() -> (&'static Postgres, String) {
    let server = Postgres::shared(Version::V15);
    let name = server.create_database();
    server.sql(&name, SHOP);
    (server, name)
}

fn choosing(address: String, include: &[&str], exclude: &[&str]) -> Setup {
    let mut setup = Setup::new(address);
    let owned = |globs: &[&str]| globs.iter().map(|glob| (*glob).to_owned()).collect();
    setup.options = SourceOptions {
        include: owned(include),
        exclude: owned(exclude),
        ..SourceOptions::default()
    };
    setup
}

#[test]
fn what_is_chosen_is_dumped_counted_and_comes_back() {
    let (server, name) = shop();
    for (include, exclude, left) in [
        (&[][..], &["public.orders"][..], 10),
        (&[], &["public.parts"], 9),
        (&[], &["Odd Schema.*", "public.pa*", "child"], 6),
        (&["public.customers"], &[], 1),
        (&["public.customers", "orders", "\"Odd Schema\".*"], &[], 3),
        (&["parts"], &["parts_2"], 1),
    ] {
        let setup = choosing(server.address(&name), include, exclude);
        let (bytes, facts) = setup.dump().unwrap();
        assert_eq!(facts.counts.len(), left, "{include:?} {exclude:?}: {:?}", facts.counts);
        assert!(facts.counts.iter().all(|count| shop_counts().contains(count)));
        assert!(facts.scope.not_included.contains(&"excluded_tables".to_owned()));
        assert!(!facts.scope.excluded_tables.is_empty());
        assert_eq!(setup.open().database.counts().unwrap(), facts.counts);
        // It restores by itself: nothing in it needs what was left out.
        let target = Setup::new(server.address(&format!("{name}_chosen")));
        let mut work = target.restore(setup.format(), &bytes).unwrap();
        assert_eq!(work.database.counts().unwrap(), facts.counts);
        work.database.discard_target().unwrap();
    }
}

#[test]
fn views_go_with_their_tables() {
    let (server, name) = shop();
    let (_, facts) = choosing(server.address(&name), &[], &["orders"]).dump().unwrap();
    assert_eq!(
        facts.scope.excluded_tables,
        ["public.orders", "public.orders_id_seq", "public.rich", "public.sums"]
    );
}

#[test]
fn a_choice_that_could_not_be_restored_is_refused() {
    let (server, name) = shop();
    server.sql(
        &name,
        "CREATE FUNCTION first_customer() RETURNS customers LANGUAGE sql AS 'SELECT * FROM customers LIMIT 1'",
    );
    for exclude in ["customers", "parent"] {
        let error = choosing(server.address(&name), &[], &[exclude]).dump().unwrap_err();
        assert_eq!((error.code(), error.text()), (Code::Refused, "pg_choice_breaks"), "{error}");
        let objects = error.detail("objects").unwrap();
        let expected = if exclude == "customers" {
            "constraint orders_customer_fkey on table public.orders, function public.first_customer()"
        } else {
            "table public.child"
        };
        assert_eq!(objects, expected);
    }
    let error = choosing(server.address(&name), &["orders"], &[]).dump().unwrap_err();
    assert_eq!(error.text(), "pg_choice_breaks");
}

#[test]
fn a_glob_that_matches_nothing_is_an_error() {
    let (server, name) = shop();
    for (include, exclude) in [(&["nope"][..], &[][..]), (&[], &["public.nope*"]), (&["*"], &["order"])] {
        let error = choosing(server.address(&name), include, exclude).dump().unwrap_err();
        assert_eq!((error.code(), error.text()), (Code::Usage, "glob_matches_nothing"));
    }
}

#[test]
fn owners_privileges_and_large_objects_can_be_left_out() {
    let (server, name) = shop();
    server.sql(
        &name,
        "CREATE ROLE keeper; ALTER TABLE orders OWNER TO keeper; GRANT SELECT ON customers TO keeper",
    );
    let mut setup = Setup::new(server.address(&name)).plain();
    let text = |setup: &Setup| String::from_utf8(setup.dump().unwrap().0).unwrap();
    let all = text(&setup);
    for part in ["OWNER TO keeper", "GRANT SELECT", "lo_create"] {
        assert!(all.contains(part), "{part}");
    }
    setup.options.no_owner = true;
    setup.options.no_privileges = true;
    setup.options.no_large_objects = true;
    let less = text(&setup);
    for part in ["OWNER TO keeper", "GRANT SELECT", "lo_create"] {
        assert!(!less.contains(part), "{part}");
    }
    let (_, facts) = setup.dump().unwrap();
    for word in [
        "owners",
        "privileges",
        "large_objects",
        "roles",
        "tablespaces",
        "other_databases",
    ] {
        assert!(facts.scope.not_included.contains(&word.to_owned()), "{word}");
    }
    server.sql(
        &name,
        "ALTER TABLE orders OWNER TO postgres; REVOKE ALL ON customers FROM keeper; DROP ROLE keeper",
    );
    // The option has another name since 16.
    let newer = Setup {
        options: setup.options.clone(),
        ..Setup::new(server.address(&name)).plain()
    };
    assert!(!text(&newer.tool_path(Version::V18.bin())).contains("lo_create"));
}
