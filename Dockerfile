# One image, several services: the command says which (see compose.yaml).
FROM node:22-slim AS contracts
WORKDIR /build
COPY package.json package-lock.json .npmrc ./
RUN npm ci --no-audit --no-fund
COPY contracts contracts
RUN node contracts/build.mjs

FROM python:3.11-slim AS packages
WORKDIR /build
COPY requirements.lock ./
RUN python -m venv /opt/gateway && /opt/gateway/bin/pip install --no-cache-dir --require-hashes -r requirements.lock

FROM python:3.11-slim
RUN useradd --create-home --uid 10001 gateway && install -d -o gateway -g gateway -m 0700 /keystore
WORKDIR /app
COPY --from=packages /opt/gateway /opt/gateway
# Only the dev chain uses these: anvil and the compiled test tokens.
COPY --from=contracts /build/node_modules/@foundry-rs node_modules/@foundry-rs
COPY --from=contracts /build/build build
COPY pyproject.toml README.md ./
COPY domain domain
COPY application application
COPY adapters adapters
COPY projections projections
COPY chain_ingest chain_ingest
COPY api api
COPY web web
COPY workers workers
COPY gateway gateway
RUN /opt/gateway/bin/pip install --no-cache-dir --no-deps --no-build-isolation -e .
ENV PATH=/opt/gateway/bin:$PATH PYTHONUNBUFFERED=1
USER gateway
CMD ["gateway", "--help"]
