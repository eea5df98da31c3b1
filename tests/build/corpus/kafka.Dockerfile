FROM eclipse-temurin:17-jre-jammy
ARG kafka_version=3.7.0
ARG scala_version=2.13
LABEL kafka.version="${kafka_version}" scala.version=${scala_version}
ENV KAFKA_VERSION=$kafka_version \
    SCALA_VERSION=$scala_version \
    KAFKA_HOME=/opt/kafka
ENV PATH=${PATH}:${KAFKA_HOME}/bin
RUN wget -q "https://example.org/${KAFKA_VERSION}/kafka_${SCALA_VERSION}-${KAFKA_VERSION}.tgz" -O "/tmp/kafka.tgz" \
 && tar xfz /tmp/kafka.tgz -C /opt && rm /tmp/kafka.tgz \
 && ln -s /opt/kafka_${SCALA_VERSION}-${KAFKA_VERSION} ${KAFKA_HOME}
VOLUME ["/kafka"]
CMD ["start-kafka.sh"]
