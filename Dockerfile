# syntax=docker/dockerfile:1

# The image of the control plane: one static binary and nothing else, run as nobody.
#
#   docker build --tag pilothouse:0.1.0 .
#   docker buildx build --platform linux/amd64,linux/arm64 --tag pilothouse:0.1.0 .
#
# Alpine's Rust compiles for musl on either architecture, which links statically by itself: names are
# resolved and threads are made without a file of the system. Certificates of the API server come with
# the service account, so none are in the image.

FROM rust:1.95-alpine AS build
# A C compiler and make, for the cryptography and the allocator.
RUN apk add --no-cache build-base
WORKDIR /source
COPY . .
# The caches outlive the build; the binary does not, unless it is copied out of them.
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/source/target \
    cargo build --locked --release -p pilothouse-cli \
    && install -D -s target/release/pilothouse /image/pilothouse \
    && ls -l /image/pilothouse

FROM scratch
COPY --from=build /image/ /
# By number, since there is no file of names; the chart says the same.
USER 65532:65532
# xDS in plaintext, xDS and certificates over TLS, metrics, health
EXPOSE 15010 15012 15014 8080
ENTRYPOINT ["/pilothouse"]
CMD ["serve"]
