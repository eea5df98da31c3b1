FROM a AS b
RUN x \
  && y
# c
COPY a b \
  c/
ENV a=1 \
    b=2
RUN <<E
x
E
CMD ["x"]
