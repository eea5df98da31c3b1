FROM scratch
ADD rootfs.tar.xz /
ADD ["https://example.org/a b", "/x/"]
COPY --from=alpine:3.19@sha256:c5b1261d6d3e43071626931fc004f70149baeba2c8ec672bd4f27761f8e1ad6b /etc/ssl/certs/ca.crt /etc/
COPY etc/passwd etc/group /etc/
USER 65532
ENV SSL_CERT_FILE=/etc/ssl/certs/ca-certificates.crt
WORKDIR /
ENTRYPOINT ["/app"]
