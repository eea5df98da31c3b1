FROM --platform=linux/amd64 a AS b
COPY --from=x --chown=1:1 --chmod=u=rwX,go=rX --link=false --parents --exclude=*.md --exclude=**/tmp a b ./
ADD --checksum=sha256:24454f830cdb571e2c4ad15481119c43b3cafd48dd869a9b2945d1036d1dc68d https://example.org/a.tar.gz /
ADD --keep-git-dir=true https://github.com/moby/buildkit.git#v0.10.1 /buildkit
ADD --unpack --link a.tar /x/
RUN --network=none --security=insecure --mount=type=tmpfs,target=/tmp --mount="type=secret,id=a b,target=/run/x" make
RUN --mount=type=ssh,required=true -- git clone x
HEALTHCHECK --interval=5m --timeout=3s CMD ["curl", "-f", "http://localhost/"]
HEALTHCHECK NONE
