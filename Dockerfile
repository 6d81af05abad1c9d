# The pipeline: one static-enough binary on a small base.
FROM rust:1.95-bookworm AS build
WORKDIR /src
COPY . .
RUN cargo build --release --locked -p cairn-pipeline

FROM debian:bookworm-slim
RUN apt-get update && apt-get install -y --no-install-recommends ca-certificates && rm -rf /var/lib/apt/lists/* \
 && useradd --system --create-home --home-dir /var/lib/cairn cairn \
 && install -d -o cairn -g cairn -m 0700 /var/lib/cairn-key
COPY --from=build /src/target/release/cairn /usr/local/bin/cairn
USER cairn
WORKDIR /var/lib/cairn
EXPOSE 9464
ENTRYPOINT ["cairn"]
CMD ["run"]
