# An image with only the server. To run it, set a replica set (PARLOR__MONGODB__URI) and a signing key (PARLOR__AUTH__SECRET or
# PARLOR__AUTH__PUBLIC_KEY). config/compose.yaml runs the server with a database and a proxy.

FROM rust:1.95-bookworm AS build
WORKDIR /parlor
COPY . .
# The cache keeps earlier builds outside of the image, so that a change doesn't build everything again.
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/parlor/target \
    cargo build --release --locked && cp target/release/parlor /usr/local/bin/parlor

# The same Debian as above, because the program needs its libc. It also needs root certificates for issuers and functions on https.
FROM debian:bookworm-slim
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/
COPY --from=build /usr/local/bin/parlor /usr/local/bin/parlor
# The server writes no file.
USER 10001:10001
ENV PARLOR__LISTEN=0.0.0.0:8001
EXPOSE 8001
# To use a configuration file, set PARLOR_CONFIG to its path, not --config. Then this health check reads the file, too.
HEALTHCHECK --interval=10s --timeout=6s --start-period=40s CMD ["/usr/local/bin/parlor", "health"]
# Without a shell, SIGTERM reaches the server, which then shuts down in order. Give it more time than shutdown.drain_seconds.
ENTRYPOINT ["/usr/local/bin/parlor"]
