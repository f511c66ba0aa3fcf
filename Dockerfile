# The gateway as one static binary and nothing else.
#
#   docker build -t vulture-gateway .
#   docker run --rm -p 127.0.0.1:8080:8080 -e GATEWAY_MQTT_URL=mqtt://192.168.1.10:1883 \
#     -e GATEWAY_ALLOW_ANONYMOUS=true vulture-gateway
#
# The base images are arguments, for networks with a mirror of their own.
ARG BUILD_IMAGE=golang:1.26.8-bookworm
ARG RUN_IMAGE=scratch

FROM ${BUILD_IMAGE} AS build
# Where modules come from; unset means Go's default.
ARG GOPROXY
# The compiler is the image's: no other one is downloaded.
ENV CGO_ENABLED=0 GOTOOLCHAIN=local
WORKDIR /src
# The modules stand in a layer of their own, which a change of code keeps.
COPY go.mod go.sum ./
RUN go mod download
COPY . .
# What gateway version says; if it is not given, the commit.
ARG VERSION
RUN head=$(cat .git/HEAD 2>/dev/null || true); ref=${head#ref: }; \
    [ "$ref" = "$head" ] || head=$(cat ".git/$ref" 2>/dev/null || sed -n "s|^\([0-9a-f]*\) $ref\$|\1|p" .git/packed-refs); \
    version=${VERSION:-$(printf %.12s "$head")}; \
    go build -trimpath -buildvcs=false -ldflags "-s -w -X main.version=${version:-dev}" -o /out/gateway ./cmd/gateway

FROM ${RUN_IMAGE}
# For brokers with TLS.
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
COPY --from=build /out/gateway /gateway
# Loopback inside a container reaches nobody. The gateway still refuses to start
# without access control until GATEWAY_ALLOW_ANONYMOUS=true is set.
ENV GATEWAY_HTTP_ADDR=0.0.0.0:8080
# Numeric, so that orchestrators can see that it is not root.
USER 65532:65532
EXPOSE 8080 8081
HEALTHCHECK --interval=10s --timeout=3s --start-period=10s --retries=3 CMD ["/gateway", "health"]
ENTRYPOINT ["/gateway"]
