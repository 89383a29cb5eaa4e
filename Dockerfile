# One static binary on a base that holds certificates and a user, and no shell.
#
#   docker build -t tracefall .
#   docker run --rm -p 4318:4318 -v tracefall:/data -e TRACEFALL__ACCESS__ADMIN_KEY=tf_… tracefall
#
# `scripts/package --check` runs what stands here without Docker, and tests/it/packaging.rs holds it to the code.

# What compiles: Rust's own C library target is static musl; SQLite, zstd, ring and jemalloc are C, so musl-gcc and make.
# The target is the builder's own architecture, so that an ARM machine builds an ARM image without a cross compiler.
FROM rust:1.95-slim-bookworm AS tools
RUN apt-get update && apt-get install -y --no-install-recommends make musl-tools && rm -rf /var/lib/apt/lists/*
RUN rustup target add "$(uname -m)-unknown-linux-musl"

# The dependencies, in a layer that changes with Cargo.toml and Cargo.lock only. A stub of our own crate is enough for that;
# cargo-chef does the same for workspaces, at the price of another tool to fetch and trust.
FROM tools AS dependencies
ENV CARGO_TARGET_DIR=/build/target CARGO_PROFILE_RELEASE_STRIP=debuginfo
WORKDIR /build
COPY Cargo.toml Cargo.lock ./
# Benchmarks and tests are not in the image; their sections go, since cargo wants the files that it names.
RUN sed -i '/^\[\[\(bench\|test\)\]\]$/,/^$/d' Cargo.toml && mkdir src && touch src/lib.rs && echo 'fn main() {}' >src/main.rs
RUN cargo build --locked --release --target "$(uname -m)-unknown-linux-musl"

FROM dependencies AS build
COPY migrations ./migrations
COPY src ./src
# Copied files may be older than the stub's build, which cargo would take for nothing to do.
RUN touch src/lib.rs src/main.rs && cargo build --locked --release --target "$(uname -m)-unknown-linux-musl"
RUN mkdir -p image/usr/local/bin image/data && cp "target/$(uname -m)-unknown-linux-musl/release/tracefall" image/usr/local/bin/

FROM gcr.io/distroless/static-debian12:nonroot
COPY --from=build /build/image/usr/local/bin/tracefall /usr/local/bin/tracefall
# Owned by its user, as a new volume that is mounted there will be.
COPY --from=build --chown=nonroot:nonroot /build/image/data /data
# Every interface, IPv4's among them; so it does not start without a key (TRACEFALL__ACCESS__…_KEY).
ENV TRACEFALL__SERVER__HOST=[::] PORT=4318 TRACEFALL__STORE__DATA_DIR=/data TRACEFALL__TELEMETRY__FORMAT=json
USER nonroot
# A tracefall.toml that is put here is read.
WORKDIR /data
VOLUME /data
EXPOSE 4318
STOPSIGNAL SIGTERM
# There is no curl in here.
HEALTHCHECK --interval=15s --timeout=5s --start-period=5s --retries=3 CMD ["tracefall", "healthcheck"]
# No ENTRYPOINT: a platform's one-off command (Fly's release_command) is then written as in a shell, `tracefall migrate up`.
CMD ["tracefall"]
