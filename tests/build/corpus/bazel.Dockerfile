FROM gcr.io/bazel-public/bazel:7.0.2 AS b
USER root
COPY --chown=ubuntu:root . /ws
WORKDIR /ws
RUN bazel --output_user_root=/tmp/x build //... --config=ci -- -//third_party/...
FROM scratch AS export
COPY --from=b /ws/bazel-bin/*.tar /
