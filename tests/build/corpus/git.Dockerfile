FROM alpine/git AS fetch
ADD git@github.com:org/repo.git#branch:dir /repo
ADD https://github.com/org/repo.git /other/
WORKDIR /repo
RUN git log --format='%H %s' -n1 > /version && git config --global --add safe.directory '*'
FROM scratch
COPY --from=fetch /version /
