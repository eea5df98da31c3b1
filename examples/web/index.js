const express = require("express");

const app = express();

app.get("/", (request, response) => response.send("Hello, world"));

const server = app.listen(8080, "0.0.0.0", () => console.log("listening on 8080"));

// PID 1 gets no default action for signals: without this, `docker stop` would wait ten seconds and kill.
process.on("SIGTERM", () => server.close());
