//! Drawings, compared as text; and what holds for any drawing.

use proptest::prelude::*;

use crate::analysis::summary::rollup;
use crate::analysis::waterfall::{Options, build};
use crate::model::sketch::{self, at_ms};
use crate::model::span::{DEFAULT_DEADLINE_NS, Field};

use super::text::width;
use super::{Style, traces, waterfall};

/// An execution of Beacon: the first call to Modal ran out of memory, the retry in another region went well.
const BEACON: &str = r#"
runner:execute_question[0..4210]{execution_id=4711}(
  router:hybrid_router_call[18..4180]{kind=client}(
    router:classify_query[22..140]
    router:router.inference_request[150..4160](
      router:router.modal_call[160..1480]!"504 from modal: upstream timed out"{region=us-east}(
        modal:modal.inference[210..1460]!"CUDA out of memory: tried to allocate 2.50 GiB"{region=us-east}
      )
      router:router.modal_call[1730..4120]{retry_count=1 region=us-west}(
        modal:modal.cold_start[1790..2680]
        modal:modal.inference[2690..4085]{input_tokens=1204 output_tokens=310 cost_pico=4200000000 region=us-west}
      )
    )
  )
  runner:persist_answer[4184..4206]
)"#;

const RUNNING: &str = r#"
runner:execute_question[0..]{execution_id=12}(
  router:hybrid_router_call[5..](modal:modal.inference[30..])
  router:audit[10..50]{status=cancelled}
  router:notify[..60]
)
modal:模型推理^f0[20..45]!"bad
line"
"#;

fn plain(width: usize) -> Style {
    Style { width, color: false }
}

fn draw(sketch: &str, now_ms: u64, options: &Options, style: &Style) -> String {
    waterfall::draw(&build(&sketch::trace(sketch).unwrap(), at_ms(now_ms), options), style)
}

fn check(drawn: &str, expected: &str) {
    let expected = expected.strip_prefix('\n').unwrap_or(expected);
    assert!(drawn == expected, "drawn:\n{drawn}\nexpected:\n{expected}");
}

#[test]
fn an_execution_with_a_retry_at_100_columns() {
    check(
        &draw(BEACON, 9_000, &Options::default(), &plain(100)),
        r#"
✓ execution 4711 completed in 4.21 s
  trace 7f3c0a1b2c3d4e5f60718293a4b5c6d7 · 2026-01-05 10:00:00 UTC
  10 spans · 2 failed · 3 services · 1204 → 310 tokens · $0.0042
  ✗ modal.inference: CUDA out of memory: tried to allocate 2.50 GiB

service  operation                         time  0           1 s         2 s         3 s         4 s
runner   execute_question                4.21 s  ░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░
router   ├─ hybrid_router_call           4.16 s  ░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░
router   │  ├─ classify_query            118 ms  ▐▊
router   │  └─ router.inference_request  4.01 s   ▕░░░░░░░░░░░░░░░░███░░░░░░░░░░░░░░░░░░░░░░░░░░░░░▍
router   │     ├─ ✗ router.modal_call    1.32 s   ▕█░░░░░░░░░░░░░░░
         │     │  │  504 from modal: upstream timed out
modal    │     │  └─ ✗ modal.inference   1.25 s    ▐██████████████▋
         │     │        CUDA out of memory: tried to allocate 2.50 GiB
router   │     └─ router.modal_call ↻1   2.39 s                      ▕█░░░░░░░░░░░░░░░░░░░░░░░░░░░░
modal    │        ├─ modal.cold_start    890 ms                       ▕██████████▌
modal    │        └─ modal.inference      1.4 s                                  ▐████████████████▌
runner   └─ persist_answer                22 ms                                                    ▎

  █ critical path · ░ waiting, or off that path · ✗ failed · ↻ retries
"#,
    );
}

#[test]
fn an_execution_with_a_retry_at_60_columns() {
    check(
        &draw(BEACON, 9_000, &Options::default(), &plain(60)),
        r#"
✓ execution 4711 completed in 4.21 s
  trace 7f3c0a1b2c3d4e5f60718293a4b5c6d7
  2026-01-05 10:00:00 UTC
  10 spans · 2 failed · 3 services · 1204 → 310 tokens
  $0.0042
  ✗ modal.inference: CUDA out of memory: tried to allocate …

service  operation                     time  0      2 s
runner   execute_question            4.21 s  ░░░░░░░░░░░░░░░
router   ├ hybrid_router_call        4.16 s  ░░░░░░░░░░░░░░░
router   │ ├ classify_query          118 ms  ▍
router   │ └ router.inference_requ…  4.01 s   ░░░░█░░░░░░░░░
router   │   ├ ✗ router.modal_call   1.32 s   ░░░░
         │   │ │ 504 from modal: upstream timed out
modal    │   │ └ ✗ modal.inference   1.25 s  ▕████▎
         │   │     CUDA out of memory: tried to allocate 2.…
router   │   └ router.modal_call ↻1  2.39 s        ░░░░░░░░░
modal    │     ├ modal.cold_start    890 ms        ▐██▌
modal    │     └ modal.inference      1.4 s           ▐████▌
runner   └ persist_answer             22 ms                ▏

  █ critical path · ░ waiting, or off that path · ✗ failed
  ↻ retries
"#,
    );
}

#[test]
fn an_execution_with_a_retry_at_160_columns() {
    check(
        &draw(BEACON, 9_000, &Options::default(), &plain(160)),
        r#"
✓ execution 4711 completed in 4.21 s
  trace 7f3c0a1b2c3d4e5f60718293a4b5c6d7 · 2026-01-05 10:00:00 UTC
  10 spans · 2 failed · 3 services · 1204 → 310 tokens · $0.0042
  ✗ modal.inference: CUDA out of memory: tried to allocate 2.50 GiB

service  operation                         time  0            500 ms       1 s          1.5 s        2 s          2.5 s         3 s          3.5 s        4 s
runner   execute_question                4.21 s  ░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░
router   ├─ hybrid_router_call           4.16 s  ░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░▎
router   │  ├─ classify_query            118 ms  ▐██▊
router   │  └─ router.inference_request  4.01 s     ▕░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░███████░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░▋
router   │     ├─ ✗ router.modal_call    1.32 s      ██░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░█
         │     │  │  504 from modal: upstream timed out
modal    │     │  └─ ✗ modal.inference   1.25 s       ▐████████████████████████████████▌
         │     │        CUDA out of memory: tried to allocate 2.50 GiB
router   │     └─ router.modal_call ↻1   2.39 s                                               ▐█░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░▋
modal    │        ├─ modal.cold_start    890 ms                                                 ███████████████████████▋
modal    │        └─ modal.inference      1.4 s                                                                        ▕████████████████████████████████████▊
runner   └─ persist_answer                22 ms                                                                                                                ▋

  █ critical path · ░ waiting, or off that path · ✗ failed · ↻ retries
"#,
    );
}

#[test]
fn running_orphaned_and_wide_names_at_80_columns() {
    check(
        &draw(RUNNING, 120, &Options::default(), &plain(80)),
        r#"
▶ execution 12 running for 120 ms
  trace 7f3c0a1b2c3d4e5f60718293a4b5c6d7 · 2026-01-05 10:00:00 UTC
  6 spans · 1 failed · 3 open · 1 orphan · 3 services
  ✗ 模型推理: bad\nline

service  operation                     time  0             50 ms          100 ms
runner   ▶ execute_question         120 ms…  █░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░
router   ├─ ▶ hybrid_router_call    115 ms…   ▐███████░░░░░░░░░░░░░░░░░░░░░░░░░░
modal    │  └─ ▶ modal.inference     90 ms…          ▕██████████████████████████
router   ├─ ⊘ audit                   40 ms     ░░░░░░░░░░░░
router   └─ notify                        ?                   ▏
         ? parent 00000000000000f0                 ░░░░░░░
modal    └─ ✗ 模型推理                25 ms        ░░░░░░░
               bad\nline

  █ critical path · ░ waiting, or off that path · ✗ failed · ▶ running
  ⊘ cancelled · ? not arrived
  • 模型推理 (0000000000000006) names parent 00000000000000f0, which has not
    arrived
  • notify (0000000000000005) came without a start; drawn at the end
"#,
    );
}

#[test]
fn depth_beyond_the_column_is_a_number() {
    let deep: String = (0..14).map(|n| format!("op{n}[{n}..{}](", 40 - n)).collect::<String>() + &")".repeat(14);
    check(
        &draw(&deep, 50, &Options::default(), &plain(40)),
        r#"
✓ op0 completed in 40 ms
  trace 7f3c0a1b2c3d4e5f60718293a4b5c6d7
  2026-01-05 10:00:00 UTC
  14 spans

operation            time  0
op0                 40 ms  ░░░░░░░░░░░░░
└ op1               38 ms  ░░░░░░░░░░░░░
  └ op2             36 ms  ▐░░░░░░░░░░░▍
    └ op3           34 ms  ▕░░░░░░░░░░░
      └ op4         32 ms   ░░░░░░░░░░░
        └ op5       30 ms   ▐░░░░░░░░░▍
          ⋯6 op6    28 ms   ▕░░░░░░░░░
          ⋯7 op7    26 ms    ░░░░░░░░░
          ⋯8 op8    24 ms    ▐░░░░░░░▍
          ⋯9 op9    22 ms    ▕░░░░░░░▏
          ⋯10 op10  20 ms     ░░░░░░░
          ⋯11 op11  18 ms     ▐░░░░░▍
          ⋯12 op12  16 ms     ▕░░░░░▏
          ⋯13 op13  14 ms      ████▊

  █ critical path
  ░ waiting, or off that path
"#,
    );
}

#[test]
fn what_is_left_out_is_said() {
    let sketch = format!("a[0..90](b[0..80]({}) c[80..85])", "x[1..2] ".repeat(20));
    check(
        &draw(&sketch, 100, &Options { max_rows: 4, ..Options::default() }, &plain(70)),
        r#"
✓ a completed in 90 ms
  trace 7f3c0a1b2c3d4e5f60718293a4b5c6d7 · 2026-01-05 10:00:00 UTC
  23 spans

operation        time  0         20 ms     40 ms      60 ms     80 ms
a               90 ms  ░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░███
├ b (+19 more)  80 ms  █████████████████████████████████████████▊
│ └ x            1 ms  ▐
└ c              5 ms                                           ▕██▍

  █ critical path · ░ waiting, or off that path
  … 19 of 23 rows are not shown, 0 of them failed; GET
    /v1/traces/7f3c0a1b2c3d4e5f60718293a4b5c6d7 lists the spans
"#,
    );
}

#[test]
fn a_trace_without_spans_is_drawn() {
    check(
        &draw("", 100, &Options::default(), &plain(80)),
        r#"
▶ trace running for 0 ns
  trace 7f3c0a1b2c3d4e5f60718293a4b5c6d7 · 2026-01-05 10:00:00.100 UTC
  no spans
"#,
    );
}

#[test]
fn a_list_has_a_line_for_each_trace() {
    let sketches =
        [BEACON, RUNNING, r#"runner:nightly_report[0..81000]{execution_id=a-long-execution-id}!"disk full""#];
    let sum_up = |text: &&str| rollup(&sketch::trace(text).unwrap(), at_ms(82_000), DEFAULT_DEADLINE_NS);
    let list: Vec<_> = sketches.iter().map(sum_up).collect();
    check(
        &traces::draw(&list, &plain(120)),
        r#"
start (UTC)         time  spans   ✗  operation                        execution         trace
01-05 10:00:00 ✓  4.21 s     10   2  execute_question runner          4711              7f3c0a1b2c3d4e5f60718293a4b5c6d7
01-05 10:00:00 ▶       …      6   1  execute_question runner          12                7f3c0a1b2c3d4e5f60718293a4b5c6d7
01-05 10:00:00 ✗  1m 21s      1   1  nightly_report runner            a-long-executio…  7f3c0a1b2c3d4e5f60718293a4b5c6d7
"#,
    );
    check(
        &traces::draw(&list, &plain(60)),
        r#"
start (UTC)         time  spans   ✗  operation     trace
01-05 10:00:00 ✓  4.21 s     10   2  execute_ques… 7f3c0a1b…
01-05 10:00:00 ▶       …      6   1  execute_ques… 7f3c0a1b…
01-05 10:00:00 ✗  1m 21s      1   1  nightly_repo… 7f3c0a1b…
"#,
    );
    check(
        &traces::draw(&list, &plain(40)),
        r#"
start (UTC)         time  operation
01-05 10:00:00 ✓  4.21 s  execute_quest…
01-05 10:00:00 ▶       …  execute_quest…
01-05 10:00:00 ✗  1m 21s  nightly_report
"#,
    );
    assert_eq!(traces::draw(&[], &plain(60)), "no traces\n");
}

#[test]
fn colour_changes_nothing_but_the_colour() {
    let style = Style { width: 90, color: true };
    for sketch in [BEACON, RUNNING] {
        let coloured = draw(sketch, 9_000, &Options::default(), &style);
        assert!(coloured.contains("\u{1b}[31m✗"));
        let mut bare = coloured;
        for parameter in ["0", "1", "2", "31", "32", "33", "36"] {
            bare = bare.replace(&format!("\u{1b}[{parameter}m"), "");
        }
        assert_eq!(bare, draw(sketch, 9_000, &Options::default(), &plain(90)));
    }
}

#[test]
fn a_very_deep_trace_is_drawn_in_linear_time_and_space() {
    let deep: String = (0..10_000).map(|n| format!("op[{n}..20000](")).collect::<String>() + &")".repeat(10_000);
    let drawn = draw(&deep, 50, &Options::default(), &plain(80));
    assert!(drawn.contains("⋯9999 op"));
    assert!(drawn.len() < 3_000_000);
}

proptest! {
    #[test]
    fn no_line_is_too_wide_and_nothing_sent_reaches_the_terminal(
        texts in proptest::collection::vec(any::<String>(), 5),
        columns in 0..200_usize,
        times in proptest::collection::vec((0..100_u64, proptest::option::of(0..200_u64)), 6),
    ) {
        let mut sketch = String::new();
        for (index, (start, end)) in times.iter().enumerate() {
            let end = end.map_or(String::new(), |end| end.to_string());
            let parent = if index % 4 == 3 { 99 } else { index / 2 };
            sketch.push_str(&format!("a#{}^{parent}[{start}..{end}]!\"m\" ", index + 1));
        }
        let mut trace = sketch::trace(&sketch.replace("^0", "")).unwrap();
        for (index, span) in trace.spans.iter_mut().enumerate() {
            let text = texts[index % texts.len()].as_str();
            for field in [Field::Service, Field::Operation, Field::ErrorMessage, Field::ExecutionId] {
                span.fields.set_text(field, text);
            }
        }
        let built = build(&trace, at_ms(120), &Options::default());
        let list = [rollup(&trace, at_ms(120), DEFAULT_DEADLINE_NS)];
        let style = plain(columns);
        for drawn in [waterfall::draw(&built, &style), traces::draw(&list, &style)] {
            for line in drawn.lines() {
                prop_assert!(width(line) <= style.columns(), "{line:?} at {columns}");
                prop_assert!(!line.chars().any(char::is_control), "{line:?}");
            }
        }
    }
}
