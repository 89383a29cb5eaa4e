//! Who is there, what do they do, and who calls whom? Of the newest traces.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;

use serde::Serialize;

use crate::analysis::tree::Tree;
use crate::model::search::TraceQuery;
use crate::model::span::Span;
use crate::model::tenant::TenantId;
use crate::model::time::UnixNanos;
use crate::query::Queries;
use crate::query::scan::{Bounded, Scope};
use crate::store::{Detail, StoreError};
use crate::wire::jaeger;

/// Traces whose services are listed.
const TRACES: usize = 50_000;

/// What a service does, and in which role.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, utoipa::ToSchema)]
pub struct Operation {
    pub name: String,
    /// `internal`, `server`, `client`, `producer` or `consumer`.
    #[serde(rename = "spanKind")]
    pub kind: &'static str,
}

/// How often one service called another.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Dependency {
    pub parent: String,
    pub child: String,
    pub call_count: u64,
}

impl Queries {
    /// The services of the newest 50 000 traces, in order. One that is new is listed once a trace of it is settled.
    ///
    /// # Errors
    /// What the store says.
    pub async fn services(&self, tenant: &TenantId) -> Result<Vec<String>, StoreError> {
        self.traces.services(tenant, TRACES).await
    }

    /// The operations of a service, or of all, in the newest traces that it takes part in, in order.
    ///
    /// # Errors
    /// What the store says.
    pub async fn operations(
        &self,
        tenant: &TenantId,
        service: Option<&str>,
    ) -> Result<Bounded<Vec<Operation>>, StoreError> {
        let candidates = TraceQuery { service: service.map(str::to_owned), ..TraceQuery::default() };
        let mut operations = BTreeSet::new();
        let scope = Scope::narrow(candidates, Detail::Outline);
        let cut = self.scan(
            tenant,
            scope,
            |_| true,
            |trace, _| {
                let asked = |span: &&Span| service.is_none_or(|service| jaeger::service(span) == service);
                operations.extend(trace.spans.iter().filter(asked).map(|span| Operation {
                    name: span.operation().unwrap_or_default().to_owned(),
                    kind: jaeger::kind(span),
                }));
                ControlFlow::Continue(())
            },
        );
        let cut = cut.await?;
        Ok(Bounded { answer: operations.into_iter().collect(), cut })
    }

    /// The calls between services in traces that began within `from..to`: spans whose parent is another service's.
    ///
    /// # Errors
    /// What the store says.
    pub async fn dependencies(
        &self,
        tenant: &TenantId,
        from: UnixNanos,
        to: UnixNanos,
    ) -> Result<Bounded<Vec<Dependency>>, StoreError> {
        let candidates = TraceQuery { from: Some(from), to: Some(to), ..TraceQuery::default() };
        let mut calls: BTreeMap<(String, String), u64> = BTreeMap::new();
        let scope = Scope::wide(candidates, Detail::Outline);
        // A trace that is not settled may be of many services.
        let cut = self.scan(
            tenant,
            scope,
            |rollup| rollup.services.len() != 1,
            |trace, _| {
                let tree = Tree::new(&trace);
                for (place, span) in trace.spans.iter().enumerate() {
                    let Some(caller) = tree.parent(place).and_then(|parent| trace.spans.get(parent)) else { continue };
                    let (parent, child) = (jaeger::service(caller), jaeger::service(span));
                    if parent != child {
                        *calls.entry((parent.to_owned(), child.to_owned())).or_default() += 1;
                    }
                }
                ControlFlow::Continue(())
            },
        );
        let cut = cut.await?;
        let dependency = |((parent, child), call_count)| Dependency { parent, child, call_count };
        Ok(Bounded { answer: calls.into_iter().map(dependency).collect(), cut })
    }
}
