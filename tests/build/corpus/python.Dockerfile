FROM python:3.12-slim-bookworm as builder
ENV PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1 \
    PIP_NO_CACHE_DIR=off  PIP_DISABLE_PIP_VERSION_CHECK=on
WORKDIR /usr/src/app
RUN apt-get update \
 && apt-get install -y --no-install-recommends gcc libpq-dev \
 && rm -rf /var/lib/apt/lists/*
COPY requirements*.txt ./
RUN pip wheel --wheel-dir /wheels -r requirements.txt

FROM python:3.12-slim-bookworm
COPY --from=builder /wheels /wheels
RUN pip install --no-index --find-links=/wheels /wheels/* && rm -rf /wheels
COPY ["src/", "setup.cfg", "/usr/src/app/"]
WORKDIR /usr/src/app
USER 1000:1000
CMD [ "gunicorn", "--bind=:8000", "app.wsgi" ]
