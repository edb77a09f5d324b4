FROM python:3.12-slim AS build
WORKDIR /src
RUN python -m venv /opt/segstream
COPY pyproject.toml constraints.txt README.md LICENSE ./
COPY schemas schemas
COPY batch_trainer batch_trainer
COPY stream_app stream_app
COPY segment_api segment_api
COPY destinations destinations
COPY segstream segstream
COPY sandbox sandbox
RUN /opt/segstream/bin/pip install --no-cache-dir -c constraints.txt '.[api,report,destinations]'

FROM python:3.12-slim
RUN useradd --system --uid 10001 --home-dir /var/lib/segstream --create-home segstream
COPY --from=build /opt/segstream /opt/segstream
ENV PATH=/opt/segstream/bin:$PATH PYTHONUNBUFFERED=1 SEGSTREAM_HOME=/var/lib/segstream
USER segstream
WORKDIR /var/lib/segstream
VOLUME /var/lib/segstream
ENTRYPOINT ["segstream"]
CMD ["--help"]
