# The server alone: a replica set (PARLOR__MONGODB__URI) and a key (PARLOR__AUTH__SECRET or PARLOR__AUTH__PUBLIC_KEY)
# are given to it when it is run. config/compose.yaml has all of it together.

FROM rust:1.95-bookworm AS build
WORKDIR /parlor
COPY . .
# What was built before is kept beside the image, so that a change costs no build of everything.
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/parlor/target \
    cargo build --release --locked && cp target/release/parlor /usr/local/bin/parlor

# The same Debian as above: the program needs its libc, and root certificates for issuers and functions on https.
FROM debian:bookworm-slim
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/
COPY --from=build /usr/local/bin/parlor /usr/local/bin/parlor
# It writes no file.
USER 10001:10001
ENV PARLOR__LISTEN=0.0.0.0:8001
EXPOSE 8001
# With a file of settings set PARLOR_CONFIG to its path, rather than --config: then this reads it, too.
HEALTHCHECK --interval=10s --timeout=6s --start-period=40s CMD ["/usr/local/bin/parlor", "health"]
# No shell in between: SIGTERM reaches the server, which then drains. Leave it more than shutdown.drain_seconds.
ENTRYPOINT ["/usr/local/bin/parlor"]
