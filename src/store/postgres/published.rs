//! Our views under their own names in the schema `public`, for those who have always looked there.
//!
//! A view is ours if its comment says so, with the schema that it reads. Nothing without that comment is ever touched.

use sqlx::{AssertSqlSafe, Executor};

use super::session::Session;
use super::{Schema, failed};
use crate::store::Result;
use crate::store::published::{Publication, Published, VIEWS, mark};
use crate::store::rows::Reader;

/// Makes those views whose names are free. To be called in a transaction that changes the schema.
pub(super) async fn publish(connection: &mut Session, schema: &Schema, doing: &'static str) -> Result<Vec<Published>> {
    let mut published = Vec::with_capacity(VIEWS.len());
    for name in VIEWS {
        let outcome = match holder(connection, schema, name, doing).await? {
            Holder::Ours => Publication::Ours,
            Holder::Others => Publication::Taken,
            Holder::Nobody => {
                // Safe: names of ours, and a plain word.
                let sql = AssertSqlSafe(format!(
                    "CREATE VIEW public.{name} AS SELECT * FROM {schema}{name}; \
                     COMMENT ON VIEW public.{name} IS '{}'; {}",
                    mark(&schema.name, name),
                    grants(schema, name),
                ));
                sqlx::raw_sql(sql).execute(&mut *connection).await.map_err(failed(doing))?;
                Publication::Made
            }
        };
        published.push(Published { name, outcome });
    }
    Ok(published)
}

/// Removes what [`publish`] made. To be called before the views that they read are removed.
pub(super) async fn withdraw(connection: &mut Session, schema: &Schema, doing: &'static str) -> Result<()> {
    for name in VIEWS {
        if holder(connection, schema, name, doing).await? == Holder::Ours {
            // Safe: a name of ours.
            let sql = AssertSqlSafe(format!("DROP VIEW public.{name}"));
            connection.execute(sql).await.map_err(failed(doing))?;
        }
    }
    Ok(())
}

/// Who may read the view in our schema may read it in `public`.
fn grants(schema: &Schema, name: &str) -> String {
    format!(
        "DO $grants$ DECLARE reader text; BEGIN \
         FOR reader IN SELECT DISTINCT CASE grantee WHEN 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(grantee)) END \
             FROM pg_catalog.pg_class, pg_catalog.aclexplode(relacl) \
             WHERE pg_class.oid = '{schema}{name}'::regclass AND privilege_type = 'SELECT' AND grantee <> relowner \
         LOOP EXECUTE 'GRANT SELECT ON public.{name} TO ' || reader; END LOOP; END $grants$"
    )
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Holder {
    Nobody,
    Ours,
    Others,
}

/// Who has a name in `public`: tables, views and types share their names.
async fn holder(connection: &mut Session, schema: &Schema, name: &str, doing: &'static str) -> Result<Holder> {
    let sql = "SELECT CASE \
         WHEN obj_description(to_regclass($1), 'pg_class') = $2 \
             AND (SELECT relkind = 'v' FROM pg_catalog.pg_class WHERE oid = to_regclass($1)) THEN 'ours' \
         WHEN coalesce(to_regclass($1)::oid, to_regtype($1)::oid) IS NOT NULL THEN 'others' END";
    let query = sqlx::query(sql).bind(format!("public.{name}")).bind(mark(&schema.name, name));
    let row = query.fetch_one(connection).await.map_err(failed(doing))?;
    Ok(match Reader::new(&row, &["holder"], doing).text()? {
        None => Holder::Nobody,
        Some("ours") => Holder::Ours,
        Some(_) => Holder::Others,
    })
}
