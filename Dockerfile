# syntax=docker/dockerfile:1

# Both binaries from one workspace build. Queries are checked against the committed metadata.
FROM rust:1.95-bookworm AS build
WORKDIR /src
COPY Cargo.toml Cargo.lock ./
COPY api api
COPY common common
COPY migrations migrations
COPY tests tests
COPY worker worker
COPY .sqlx .sqlx
ENV SQLX_OFFLINE=true
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/src/target \
    cargo build --release --locked --bins --package keryu-api --package keryu-worker \
    && install -D -t /out target/release/keryu-api target/release/keryu-worker

FROM debian:bookworm-slim
RUN apt-get update \
    && apt-get install -y --no-install-recommends ca-certificates \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --system --uid 10001 --no-create-home --shell /usr/sbin/nologin keryu \
    && install -d -o keryu -g keryu -m 700 /var/lib/keryu
COPY --from=build /out/ /usr/local/bin/
USER keryu
ENV KERYU_LISTEN=0.0.0.0 \
    PORT=8080
EXPOSE 8080
# the worker: `docker run … keryu-worker run`; before either: `keryu-api migrate`
CMD ["keryu-api", "serve"]
