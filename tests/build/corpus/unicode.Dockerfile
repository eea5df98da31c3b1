FROM a
LABEL greeting="grüße, 世界 🚀" nbsp="a b"
RUN echo 'héllo' && echo ①
ENV ключ=значение
COPY Übersicht.md /doc/　x
CMD ["héllo", "\u00e9", "\ud83d\ude80"]
MAINTAINER Åsa
