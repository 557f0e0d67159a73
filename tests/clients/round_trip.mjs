// One round trip with MQTT.js. Arguments: URL, protocol level, CA file, prefix of topics.
// Prints what has come as JSON, a message on a line, and ends with 0 if all of it was right.

import { readFileSync } from "node:fs";
import mqtt from "mqtt";

const [url, level, ca, prefix] = process.argv.slice(2);
const v5 = level === "5";
const options = {
  protocolVersion: Number(level),
  reconnectPeriod: 0,
  connectTimeout: 10_000,
  ca: url.includes("s://") ? readFileSync(ca) : undefined,
};

const fail = (why) => {
  console.error(why);
  process.exit(1);
};
setTimeout(() => fail("not done within 20 s"), 20_000).unref();

const wait = (until) =>
  new Promise((done) => {
    const look = () => (until() ? done() : setTimeout(look, 5));
    look();
  });

const came = [];
const client = await mqtt.connectAsync(url, { ...options, clientId: `${prefix}-js` });
client.on("error", fail);
client.on("message", (topic, payload, packet) => {
  const { qos, retain, properties } = packet;
  const user = properties?.userProperties;
  came.push({ topic, payload: payload.toString(), qos, retain, user: user ? { ...user } : null });
});

const granted = await client.subscribeAsync(`${prefix}/#`, { qos: 2 });
if (granted[0].qos !== 2) fail(`granted ${JSON.stringify(granted)}`);
for (const qos of [0, 1, 2]) {
  const properties = v5 ? { userProperties: { key: `value ${qos}` } } : undefined;
  await client.publishAsync(`${prefix}/${qos}`, `from MQTT.js, ${qos}`, { qos, properties });
}
await client.publishAsync(`${prefix}/retained`, "kept", { qos: 1, retain: true });
await wait(() => came.length === 4);

// A second client finds what is retained, and the first one hears its will.
const second = await mqtt.connectAsync(url, {
  ...options,
  clientId: `${prefix}-second`,
  will: { topic: `${prefix}/will`, payload: Buffer.from("gone"), qos: 1 },
});
second.on("error", () => {});
const kept = new Promise((done) => second.on("message", (_, payload, { retain }) => done({ payload, retain })));
await second.subscribeAsync(`${prefix}/retained`);
const { payload, retain } = await kept;
if (payload.toString() !== "kept" || !retain) fail(`retained: ${payload} ${retain}`);
second.stream.destroy();
await wait(() => came.length === 5);

await client.publishAsync(`${prefix}/retained`, "", { qos: 1, retain: true });
await wait(() => came.length === 6);
await client.unsubscribeAsync(`${prefix}/#`);
await client.publishAsync(`${prefix}/1`, "unheard", { qos: 1 });
await client.endAsync();
for (const message of came) console.log(JSON.stringify(message));
process.exit(0);
