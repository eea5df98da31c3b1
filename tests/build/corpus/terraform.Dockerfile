FROM alpine:3.19
ARG TF=1.7.5
RUN apk add --no-cache --virtual=.build unzip \
	&& wget "https://example.org/${TF}/terraform_${TF}_linux_$(uname -m | sed 's/x86_64/amd64/; s/aarch64/arm64/').zip" \
	&& unzip terraform_*.zip -d /usr/local/bin && rm terraform_*.zip \
	&& apk del .build
ENTRYPOINT ["terraform"]
CMD ["--help"]
