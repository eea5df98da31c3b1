FROM eclipse-temurin:21-jdk AS build
WORKDIR /workspace
COPY .mvn/ .mvn
COPY mvnw pom.xml ./
RUN ./mvnw -B package -DskipTests \
  && mkdir -p target/dependency && (cd target/dependency; jar -xf ../*.jar)

FROM eclipse-temurin:21-jre
VOLUME ["/tmp", "/var/log/app"]
ARG DEPENDENCY=/workspace/target/dependency
COPY --from=build ${DEPENDENCY}/BOOT-INF/lib /app/lib
ENV JAVA_OPTS=""
ENTRYPOINT exec java $JAVA_OPTS -cp app:app/lib/* com.example.Application
