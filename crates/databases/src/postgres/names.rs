//! Names as SQL writes them, in one place: the checker of archives and the side that counts rows on a server must agree letter
//! by letter, or equal counts would look different.

/// Every key word of PostgreSQL 15 to 18 that SQL does not take as a plain name everywhere, sorted (from `pg_get_keywords()`, all
/// categories but "unreserved"). Newer servers know more of them (`json` in 16), so a server older than 18 quotes fewer names with
/// its own `quote_ident()`: compare names that were both made here, never one of ours with one of the server's.
const KEY_WORDS: &str = "\
    all analyse analyze and any array as asc asymmetric authorization between bigint binary bit boolean both case cast \
    char character check coalesce collate collation column concurrently constraint create cross current_catalog \
    current_date current_role current_schema current_time current_timestamp current_user dec decimal default deferrable \
    desc distinct do else end except exists extract false fetch float for foreign freeze from full grant greatest group \
    grouping having ilike in initially inner inout int integer intersect interval into is isnull join json json_array \
    json_arrayagg json_exists json_object json_objectagg json_query json_scalar json_serialize json_table json_value \
    lateral leading least left like limit localtime localtimestamp merge_action national natural nchar none normalize not \
    notnull null nullif numeric offset on only or order out outer overlaps overlay placing position precision primary real \
    references returning right row select session_user setof similar smallint some substring symmetric system_user table \
    tablesample then time timestamp to trailing treat trim true union unique user using values varchar variadic verbose \
    when where window with xmlattributes xmlconcat xmlelement xmlexists xmlforest xmlnamespaces xmlparse xmlpi xmlroot \
    xmlserialize xmltable";

/// Writes a name as SQL must: unchanged if it is lower-case letters, digits and `_`, does not begin with a digit and is no key
/// word; else between double quotes, with inner quotes doubled. The same as `quote_ident()` of PostgreSQL 18.
pub fn quote_ident(name: &str) -> String {
    let bytes = name.as_bytes();
    let plain = bytes.first().is_some_and(|b| b.is_ascii_lowercase() || *b == b'_')
        && bytes
            .iter()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || *b == b'_')
        && !is_key_word(name);
    if plain {
        name.to_owned()
    } else {
        format!("\"{}\"", name.replace('"', "\"\""))
    }
}

/// `schema.table`, each part quoted where it must be: the form of `TableCount::table`.
pub fn qualified(schema: &str, table: &str) -> String {
    format!("{}.{}", quote_ident(schema), quote_ident(table))
}

fn is_key_word(name: &str) -> bool {
    KEY_WORDS.split_ascii_whitespace().any(|word| word == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_quoted_where_they_must_be() {
        for plain in ["a", "_", "shop_2", "name", "key"] {
            assert_eq!(quote_ident(plain), plain);
        }
        for (name, quoted) in [
            ("", "\"\""),
            ("Shop", "\"Shop\""),
            ("2shop", "\"2shop\""),
            ("a$b", "\"a$b\""),
            ("select", "\"select\""),
            ("a\"b", "\"a\"\"b\""),
            ("é", "\"é\""),
            ("a b", "\"a b\""),
        ] {
            assert_eq!(quote_ident(name), quoted);
        }
        assert_eq!(qualified("public", "order"), "public.\"order\"");
    }
}
