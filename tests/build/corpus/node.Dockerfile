# syntax=docker/dockerfile:1
FROM node:20-alpine AS base
WORKDIR /app
ENV NODE_ENV=production

FROM base AS deps
COPY package.json package-lock.json* ./
RUN --mount=type=cache,target=/root/.npm,sharing=locked \
    --mount=type=secret,id=npmrc,target=/root/.npmrc \
    npm ci --omit=dev

FROM base AS build
COPY --from=deps /app/node_modules ./node_modules
COPY . .
RUN npm run build

FROM base
RUN addgroup --system --gid 1001 nodejs && adduser --system --uid 1001 app
COPY --from=build --chown=app:nodejs /app/dist ./dist
COPY --from=deps  /app/node_modules ./node_modules
USER app
EXPOSE 3000
ENV PORT 3000
HEALTHCHECK --interval=30s --timeout=3s --start-period=10s --retries=3 \
    CMD wget -qO- http://localhost:$PORT/health || exit 1
CMD ["node", "dist/server.js"]
