FROM scratch
LABEL org.opencontainers.image.title="A \"quoted\" title" \
      org.opencontainers.image.description='single $quoted' \
      multi="one \
two"
LABEL "com.example.vendor"="ACME Incorporated" empty= equals=a=b=c
LABEL com.example.label old form of = label
LABEL version=1.0 path=C:\\Windows spaced=a\ b
ENV abc=hello
ENV abc=bye def=$abc ghi="${abc}-x" jkl='$abc' mno=\$abc
ENV pqr ${abc:-fallback} and the rest "of it"
MAINTAINER   Some One <some@one.example>
