from alpine as base
run apk add curl
copy a b
env a=1
workdir /x
user me
expose 1
cmd ["a"]
Entrypoint ["b"]
label a=b
arg c
volume /d
stopsignal 9
shell ["sh"]
healthcheck none
onbuild run x
add e f
maintainer me
