//! A fresh database against `schema/application.tsv`, a copy of the tables that the running application has.

use std::collections::BTreeSet;

use local_cloud::{Postgres, postgres};
use sqlx::PgConnection;

/// Each fact that the page states, one per line: an enumeration's values, a column, or a rule of a table.
const APPLICATION: &str = include_str!("../../schema/application.tsv");

/// Each index that the application's migrations leave: what is not listed is not there in production.
const INDEXES: &str = include_str!("../../schema/application-indexes.txt");

const COLUMNS: &str = "
    SELECT concat_ws(E'\\t', 'column', c.relname, a.attname,
        replace(replace(replace(format_type(a.atttypid, a.atttypmod),
            'character varying', 'varchar'), 'timestamp with time zone', 'timestamptz'),
            'timestamp without time zone', 'timestamp (UTC)'),
        CASE WHEN a.attnotnull THEN 'not null' ELSE 'null' END,
        CASE
            WHEN a.attgenerated <> '' THEN 'generated'
            WHEN pg_get_expr(d.adbin, d.adrelid) = 'gen_random_uuid()' THEN 'random'
            WHEN pg_get_expr(d.adbin, d.adrelid) IN ('now()', 'timezone(''UTC''::text, now())') THEN 'now'
            ELSE regexp_replace(pg_get_expr(d.adbin, d.adrelid), '::[a-z_ ]+(\\[\\])?$', '')
        END)
    FROM pg_attribute a
    JOIN pg_class c ON c.oid = a.attrelid AND c.relkind = 'r' AND c.relnamespace = 'public'::regnamespace
    LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
    WHERE a.attnum > 0";

const ENUMERATIONS: &str = "
    SELECT concat_ws(E'\\t', 'enum', t.typname, string_agg(e.enumlabel, ', ' ORDER BY e.enumsortorder))
    FROM pg_type t JOIN pg_enum e ON e.enumtypid = t.oid
    GROUP BY t.typname";

/// Primary keys are not on the page; casts of constants are not shown there.
const CONSTRAINTS: &str = "
    SELECT concat_ws(E'\\t', 'rule', c.conrelid::regclass,
        CASE c.contype
            WHEN 'c' THEN 'check '
                || regexp_replace(substr(pg_get_constraintdef(c.oid), 7), '::(text|character varying)(\\[\\])?|ARRAY', '', 'g')
            WHEN 'u' THEN 'unique ' || substr(pg_get_constraintdef(c.oid), 8)
            WHEN 'f' THEN replace(replace(replace(regexp_replace(pg_get_constraintdef(c.oid), '^FOREIGN KEY ', ''),
                ' REFERENCES ', ' → '), ' ON DELETE CASCADE', ' on delete cascade'),
                ' ON DELETE SET NULL', ' on delete set null')
        END)
    FROM pg_constraint c
    WHERE c.connamespace = 'public'::regnamespace AND c.contype IN ('c', 'u', 'f')";

const UNIQUE_INDEXES: &str = "
    SELECT concat_ws(E'\\t', 'rule', i.indrelid::regclass,
        'unique index ' || substring(pg_get_indexdef(i.indexrelid) FROM 'USING btree (.*)'))
    FROM pg_index i
    JOIN pg_class c ON c.oid = i.indexrelid AND c.relnamespace = 'public'::regnamespace
    WHERE i.indisunique AND NOT EXISTS (SELECT FROM pg_constraint k WHERE k.conindid = i.indexrelid)";

/// Without their names, which differ.
const ALL_INDEXES: &str = r"
    SELECT c.relname || '|' || replace(
        regexp_replace(pg_get_indexdef(i.indexrelid),
            '^(CREATE (?:UNIQUE )?INDEX) .+? ON (?:ONLY )?(?:\S+\.)?(\S+) (USING .*)$', '\1 ON \2 \3'),
        ' USING btree (', ' (')
    FROM pg_index i JOIN pg_class c ON c.oid = i.indrelid
    WHERE c.relnamespace = 'public'::regnamespace";

async fn facts(connection: &mut PgConnection, query: &'static str) -> Vec<String> {
    sqlx::query_scalar(query).fetch_all(connection).await.expect("the catalogue can be read")
}

#[tokio::test]
async fn a_fresh_database_has_exactly_the_tables_that_the_application_has() {
    let postgres = Postgres::start(None).await.expect("Postgres starts");
    let url = postgres.create_database("schema").await.expect("a database");
    let mut connection = postgres::connect(&url).await.expect("a connection");
    let mut found = BTreeSet::new();
    for query in [COLUMNS, ENUMERATIONS, CONSTRAINTS, UNIQUE_INDEXES] {
        found.extend(facts(&mut connection, query).await);
    }
    let expected: BTreeSet<String> = APPLICATION.lines().map(str::to_owned).collect();
    let missing: Vec<_> = expected.difference(&found).collect();
    let more: Vec<_> = found.difference(&expected).collect();
    assert!(missing.is_empty() && more.is_empty(), "missing: {missing:#?}\nmore: {more:#?}");
}

#[tokio::test]
async fn a_fresh_database_has_exactly_the_indexes_that_the_application_has() {
    let postgres = Postgres::start(None).await.expect("Postgres starts");
    let url = postgres.create_database("indexes").await.expect("a database");
    let mut connection = postgres::connect(&url).await.expect("a connection");
    let found: BTreeSet<_> = facts(&mut connection, ALL_INDEXES).await.into_iter().collect();
    let expected: BTreeSet<_> = INDEXES.lines().map(str::to_owned).collect();
    let missing: Vec<_> = expected.difference(&found).collect();
    let more: Vec<_> = found.difference(&expected).collect();
    assert!(missing.is_empty() && more.is_empty(), "missing: {missing:#?}\nmore: {more:#?}");
}

#[tokio::test]
async fn an_update_moves_updated_at_where_it_has_a_time_zone() {
    let postgres = Postgres::start(None).await.expect("Postgres starts");
    let url = postgres.create_database("triggers").await.expect("a database");
    let mut connection = postgres::connect(&url).await.expect("a connection");
    let triggers: BTreeSet<String> = sqlx::query_scalar(
        "SELECT tgrelid::regclass::text FROM pg_trigger WHERE tgname = 'touch_updated_at'",
    )
    .fetch_all(&mut connection)
    .await
    .expect("triggers")
    .into_iter()
    .collect();
    let expected: BTreeSet<String> = APPLICATION
        .lines()
        .filter_map(|line| {
            line.strip_suffix("\tupdated_at\ttimestamptz\tnull\tnow")
                .or(line.strip_suffix("\tupdated_at\ttimestamptz\tnot null\tnow"))
        })
        .filter_map(|line| line.strip_prefix("column\t"))
        .map(str::to_owned)
        .collect();
    assert_eq!(triggers, expected);
    let moved: bool = sqlx::query_scalar(
        "WITH old AS (
            INSERT INTO users (email, google_id, updated_at) VALUES ('a@example.test', 'a', '2020-01-01') RETURNING id
         ) SELECT true FROM old",
    )
    .fetch_one(&mut connection)
    .await
    .expect("a user");
    assert!(moved);
    let updated: bool = sqlx::query_scalar("UPDATE users SET name = 'A' RETURNING updated_at > '2020-01-02'")
        .fetch_one(&mut connection)
        .await
        .expect("an update");
    assert!(updated);
}
