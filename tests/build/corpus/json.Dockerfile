FROM a
CMD ["\u0061", "tab\there", "quote\"", "back\\slash", "/slash\/"]
ENTRYPOINT []
RUN ["/bin/sh", "-c", "echo $x && ls *"]
RUN [ "$(id -u)" = 0 ] && echo root
RUN [ -f /x ] || exit 1
RUN [[ -f /x ]]
SHELL ["/bin/bash", "-o", "pipefail", "-c"]
VOLUME ["/a b", "/c"]
COPY ["a b", "c", "/d e/"]
ADD ["x","y"]
CMD []
HEALTHCHECK CMD [ "a" ,  "b" ]
ONBUILD CMD ["z"]
