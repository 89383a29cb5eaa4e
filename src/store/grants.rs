//! The GRANT statements for roles that use a PostgreSQL store without owning it. Pure text: an administrator reads it,
//! then runs it.

use super::published::VIEWS;
use super::{Result, StoreError};
use crate::settings::store::{StoreLocation, StoreSettings};

/// What the writer fills and changes. It may do no more than read the rest, the history of migrations for one.
pub(super) const WRITTEN: [&str; 8] =
    ["spans", "open_spans", "resources", "traces", "pins", "dead_letters", "leases", "checkpoints"];
/// Where the writer removes rows: a completion takes its start's place, twins become one row, and a trace is unpinned.
pub(super) const EMPTIED: [&str; 3] = ["open_spans", "spans", "pins"];

/// The statements that let `writer` write spans and `reader` read them. To be run by the role that migrates, once its
/// migrations are applied: tables that the same role makes later, the partitions of days to come, are covered too.
/// Running them again changes nothing.
///
/// # Errors
/// [`StoreError::Other`] if the store knows no roles, or a name cannot be a role's.
pub fn grants(settings: &StoreSettings, writer: &str, reader: &str) -> Result<String> {
    let refused = |reason: &str| StoreError::Other { doing: "print the grants", source: reason.into() };
    let StoreLocation::Postgres(to) = super::location(settings)? else {
        return Err(refused("SQLite has no roles: whoever may open the file may do everything"));
    };
    // A line break would end the comment that a name stands in.
    if [writer, reader].iter().any(|name| name.is_empty() || name.contains(char::is_control)) {
        return Err(refused("a role has a name without control characters"));
    }
    let schema = quoted(&to.schema);
    let tables =
        |names: &[&str]| names.iter().map(|name| format!("{schema}.{}", quoted(name))).collect::<Vec<_>>().join(", ");
    let (written, emptied) = (tables(&WRITTEN), tables(&EMPTIED));
    // What stands around the block must not be in it.
    let body =
        (0..).map(|number| format!("$views{number}$")).find(|tag| !writer.contains(tag) && !reader.contains(tag));
    Ok(format!(
        "-- To be run by the role that migrates (store.admin_url), after `tracefall migrate up`.\n\
         -- The roles have to exist:  CREATE ROLE {writer} LOGIN;  CREATE ROLE {reader} LOGIN;\n\
         BEGIN;\n\
         GRANT USAGE ON SCHEMA {schema} TO {writer}, {reader};\n\
         GRANT SELECT ON ALL TABLES IN SCHEMA {schema} TO {writer}, {reader};\n\
         GRANT INSERT, UPDATE ON {written} TO {writer};\n\
         GRANT DELETE ON {emptied} TO {writer};\n\
         GRANT USAGE ON ALL SEQUENCES IN SCHEMA {schema} TO {writer};\n\
         -- The views for people call functions.\n\
         GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA {schema} TO {writer}, {reader};\n\
         -- Tables that this role makes later, such as the partitions of days to come.\n\
         ALTER DEFAULT PRIVILEGES IN SCHEMA {schema} GRANT SELECT ON TABLES TO {writer}, {reader};\n\
         ALTER DEFAULT PRIVILEGES IN SCHEMA {schema} GRANT EXECUTE ON FUNCTIONS TO {writer}, {reader};\n\
         -- The views that `migrate up --compat-views` made.\n\
         DO {body} DECLARE name text; BEGIN\n\
         FOREACH name IN ARRAY ARRAY[{views}] LOOP\n\
         IF obj_description(to_regclass('public.' || name), 'pg_class') = {mark} || name THEN\n\
         EXECUTE format('GRANT SELECT ON public.%I TO %I, %I', name, {writer_text}, {reader_text});\n\
         END IF; END LOOP; END {body};\n\
         COMMIT;\n",
        views = VIEWS.map(|name| format!("'{name}'")).join(", "),
        mark = literal(&super::published::mark(&to.schema, "")),
        writer_text = literal(writer),
        reader_text = literal(reader),
        body = body.unwrap_or_default(),
        writer = quoted(writer),
        reader = quoted(reader),
    ))
}

/// A name as SQL takes it in any spelling, key words included.
/// Source: <https://www.postgresql.org/docs/current/sql-syntax-lexical.html#SQL-SYNTAX-IDENTIFIERS>.
fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// A text as SQL takes it, whatever `standard_conforming_strings` says.
/// Source: <https://www.postgresql.org/docs/current/sql-syntax-lexical.html#SQL-SYNTAX-STRINGS-ESCAPE>.
fn literal(text: &str) -> String {
    format!("E'{}'", text.replace('\\', "\\\\").replace('\'', "''"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::DatabaseUrl;

    fn postgres(schema: &str) -> StoreSettings {
        let url = DatabaseUrl::new("postgres://me:hunter2@localhost/app");
        StoreSettings { url: Some(url), schema: schema.into(), ..StoreSettings::default() }
    }

    #[test]
    fn names_are_quoted_whatever_they_are() {
        for (name, sql) in [
            ("tracefall", "\"tracefall\""),
            ("User", "\"User\""),
            ("a b", "\"a b\""),
            ("a\"b", "\"a\"\"b\""),
            ("\"", "\"\"\"\""),
            ("x\"; DROP SCHEMA public; --", "\"x\"\"; DROP SCHEMA public; --\""),
            ("größe\\", "\"größe\\\""),
        ] {
            assert_eq!(quoted(name), sql);
        }
    }

    #[test]
    fn the_writer_changes_its_tables_and_the_reader_reads_all() {
        let sql = grants(&postgres("user"), "the writer", "r\"r").unwrap();
        let statements: Vec<&str> = sql.lines().filter(|line| !line.starts_with("--")).collect();
        assert_eq!(
            statements,
            [
                "BEGIN;",
                r#"GRANT USAGE ON SCHEMA "user" TO "the writer", "r""r";"#,
                r#"GRANT SELECT ON ALL TABLES IN SCHEMA "user" TO "the writer", "r""r";"#,
                r#"GRANT INSERT, UPDATE ON "user"."spans", "user"."open_spans", "user"."resources", "user"."traces", "user"."pins", "user"."dead_letters", "user"."leases", "user"."checkpoints" TO "the writer";"#,
                r#"GRANT DELETE ON "user"."open_spans", "user"."spans", "user"."pins" TO "the writer";"#,
                r#"GRANT USAGE ON ALL SEQUENCES IN SCHEMA "user" TO "the writer";"#,
                r#"GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA "user" TO "the writer", "r""r";"#,
                r#"ALTER DEFAULT PRIVILEGES IN SCHEMA "user" GRANT SELECT ON TABLES TO "the writer", "r""r";"#,
                r#"ALTER DEFAULT PRIVILEGES IN SCHEMA "user" GRANT EXECUTE ON FUNCTIONS TO "the writer", "r""r";"#,
                "DO $views0$ DECLARE name text; BEGIN",
                "FOREACH name IN ARRAY ARRAY['trace_spans', 'trace_waterfall', 'trace_spans_health', 'deployment_trace_span'] LOOP",
                "IF obj_description(to_regclass('public.' || name), 'pg_class') = E'tracefall: user.' || name THEN",
                r#"EXECUTE format('GRANT SELECT ON public.%I TO %I, %I', name, E'the writer', E'r"r');"#,
                "END IF; END LOOP; END $views0$;",
                "COMMIT;",
            ]
        );
        assert!(!sql.contains("hunter2"));
    }

    #[test]
    fn no_name_ends_the_block_that_it_stands_in() {
        let sql = grants(&postgres("tracefall"), "it's $views0$", "\\").unwrap();
        assert!(sql.contains(r"E'it''s $views0$', E'\\');") && sql.contains("DO $views1$"), "{sql}");
    }

    #[test]
    fn what_cannot_be_granted_is_said() {
        let sqlite = grants(&StoreSettings::default(), "w", "r").unwrap_err().to_string();
        assert!(sqlite.contains("SQLite has no roles"), "{sqlite}");
        for (writer, reader) in [("", "r"), ("w", ""), ("w\0", "r"), ("w", "r\nDROP TABLE x;")] {
            assert!(grants(&postgres("tracefall"), writer, reader).is_err());
        }
    }
}
