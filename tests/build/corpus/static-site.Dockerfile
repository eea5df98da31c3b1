FROM node AS build
WORKDIR /site
COPY package*.json .
RUN ["npm","ci"]
COPY . .
RUN npm run build
FROM nginx:alpine
COPY --from=build /site/dist /usr/share/nginx/html
COPY <<"conf" /etc/nginx/conf.d/default.conf
server {
    listen 80;
    location / { try_files $uri /index.html; }
}
conf
HEALTHCHECK --retries=1 --start-interval=500ms CMD wget -q -O /dev/null http://localhost/ || exit 1
