// Sends every call type with Segment's Node.js SDK: node send_segment.js URL WRITE_KEY USER
const { Analytics } = require("@segment/analytics-node");

const [url, writeKey, userId] = process.argv.slice(2);
const client = new Analytics({ writeKey, host: url, flushAt: 4, flushInterval: 200 });
client.on("error", (error) => {
  console.error(error);
  process.exitCode = 1;
});
client.identify({ userId, traits: { email: "ada@example.com", plan: "pro" } });
client.track({ userId, event: "Order Completed", properties: { revenue: 9.5, items: [1, 2] } });
client.page({ userId, name: "Home", properties: { url: "/" } });
client.screen({ userId, name: "Main" });
client.group({ userId, groupId: "g1", traits: { name: "Acme" } });
client.alias({ userId, previousId: "anonymous-1" });
client.closeAndFlush();
