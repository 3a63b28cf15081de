// Book flights, and tell notifier of every booking: a transactional outbox, with RabbitMQ's amqp-client and JDBC.
//
//   javac -cp amqp-client.jar -d . Publish.java
//   java -cp .:amqp-client.jar:slf4j-api.jar:slf4j-nop.jar:sqlite-jdbc.jar Publish [HOW_MANY]
//
// Books so many flights (default 1), then publishes what the outbox holds. NOTIFIER_AMQP_URL is the broker,
// NOTIFIER_AMQP_EXCHANGE (default bookings) the exchange, OUTBOX (default jdbc:sqlite:outbox.db) the JDBC address of the
// booking service's own database.

import com.rabbitmq.client.AMQP;
import com.rabbitmq.client.Channel;
import com.rabbitmq.client.ConnectionFactory;
import java.nio.charset.StandardCharsets;
import java.sql.*;
import java.time.Instant;
import java.time.temporal.ChronoUnit;
import java.util.*;
import java.util.concurrent.ConcurrentLinkedQueue;

public class Publish {
    static final String EXCHANGE = System.getenv().getOrDefault("NOTIFIER_AMQP_EXCHANGE", "bookings");

    /** Stores a booking and the message about it in one transaction: both are there, or neither is. */
    static void book(Connection db, String email, Instant departsAt) throws SQLException {
        String reference = UUID.randomUUID().toString().substring(0, 6).toUpperCase(Locale.ROOT);
        String id = UUID.randomUUID().toString(); // made once, here: however often it is published, it is the same message
        String body = """
            {"specversion":"1.0","id":"%s","source":"/booking-service","type":"booking.confirmed","time":"%s",
             "data":{"booking":"%s","version":1,"passengers":[{"name":"Asha Rao","email":"%s"}],
              "flights":[{"number":"AI101","from":"DEL","to":"BLR","departs_at":"%s"}]}}
            """.formatted(id, Instant.now(), reference, email, departsAt); // with free text in it: use a JSON library
        update(db, "INSERT INTO bookings VALUES (?, ?, ?)", reference, email, departsAt.toString());
        update(db, "INSERT INTO outbox (id, type, body) VALUES (?, ?, ?)", id, "booking.confirmed", body);
        db.commit();
    }

    /** Publishes what is not marked, and marks it once the broker has confirmed it; killed in between, it publishes again. */
    static void publishPending(Connection db, Channel channel) throws Exception {
        Queue<String> returned = new ConcurrentLinkedQueue<>();
        channel.addReturnListener((code, text, exchange, key, properties, body) -> returned.add(properties.getMessageId()));
        channel.confirmSelect();
        for (List<String> batch; !(batch = publishSome(db, channel)).isEmpty(); ) {
            channel.waitForConfirmsOrDie(30_000); // throws where the broker could not take one
            if (!returned.isEmpty()) { // a return comes before its confirm
                throw new IllegalStateException(
                    "no queue is bound to " + EXCHANGE + ": start notifier, or run notifier topology declare");
            }
            for (String id : batch) {
                update(db, "UPDATE outbox SET published_at = ? WHERE id = ?", Instant.now().toString(), id);
            }
            db.commit();
            System.out.println("published " + batch.size());
        }
    }

    static List<String> publishSome(Connection db, Channel channel) throws Exception {
        List<String> ids = new ArrayList<>();
        String pending = "SELECT id, type, body FROM outbox WHERE published_at IS NULL ORDER BY n LIMIT 100";
        try (Statement statement = db.createStatement(); ResultSet row = statement.executeQuery(pending)) {
            while (row.next()) {
                AMQP.BasicProperties properties = new AMQP.BasicProperties.Builder()
                    .contentType("application/cloudevents+json").messageId(row.getString(1)).deliveryMode(2).build();
                byte[] body = row.getString(3).getBytes(StandardCharsets.UTF_8);
                channel.basicPublish(EXCHANGE, row.getString(2), true, properties, body);
                ids.add(row.getString(1));
            }
        }
        return ids;
    }

    static void update(Connection db, String sql, String... values) throws SQLException {
        try (PreparedStatement statement = db.prepareStatement(sql)) {
            for (int n = 0; n < values.length; n++) statement.setString(n + 1, values[n]);
            statement.executeUpdate();
        }
    }

    public static void main(String[] args) throws Exception {
        ConnectionFactory factory = new ConnectionFactory();
        // To this client a bare "/" at the end is a virtual host without a name; everywhere else it is the host "/".
        factory.setUri(System.getenv("NOTIFIER_AMQP_URL").replaceFirst("/$", "/%2f"));
        try (Connection db = DriverManager.getConnection(System.getenv().getOrDefault("OUTBOX", "jdbc:sqlite:outbox.db"))) {
            db.setAutoCommit(false);
            update(db, "CREATE TABLE IF NOT EXISTS bookings (reference TEXT PRIMARY KEY, email TEXT, departs_at TEXT)");
            update(db, "CREATE TABLE IF NOT EXISTS outbox (n INTEGER PRIMARY KEY, id TEXT UNIQUE, type TEXT, body TEXT,"
                + " published_at TEXT)");
            for (int n = args.length > 0 ? Integer.parseInt(args[0]) : 1; n > 0; n--) {
                book(db, "asha@example.com", Instant.now().plus(2, ChronoUnit.DAYS));
            }
            try (com.rabbitmq.client.Connection connection = factory.newConnection("booking-service");
                Channel channel = connection.createChannel()) {
                publishPending(db, channel);
            }
        }
    }
}
