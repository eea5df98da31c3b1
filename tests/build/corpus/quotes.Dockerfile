FROM a
ENV a="it's" b='say "x"' c=it\'s d="\"" e="\\" f='\' g=a"b c"d
ENV h "quoted value"
ENV i  it's fine
LABEL j='k'"l"m\ n
ARG o='p q' r="s=t"
USER "me"
WORKDIR "/a b"
COPY a\ b c
RUN echo "unbalanced
RUN echo it\'s
CMD echo 'x'
