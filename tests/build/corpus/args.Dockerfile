ARG REGISTRY=docker.io
ARG IMAGE=${REGISTRY}/library/alpine TAG=3.19
FROM ${IMAGE}:${TAG:-latest} AS one
ARG REGISTRY
ARG plain quoted="a b" empty= with-dash=1
ARG nested=${plain:-${quoted:-x}}
ARG user
USER ${user:-1000}:${group:-1000}
WORKDIR ${dir:-/srv}/app
COPY --from=0 ${src:-.} ${dst:+/x/}y
EXPOSE ${port:-80}/tcp ${range}
STOPSIGNAL ${signal:-SIGTERM}
VOLUME ${vol:-/v}
FROM one
FROM --platform=${BUILDPLATFORM:-linux/amd64} busybox AS last
