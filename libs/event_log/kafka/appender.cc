#include "libs/event_log/kafka/appender.h"

#include <atomic>
#include <optional>
#include <stop_token>
#include <thread>

#include "libs/base/backoff.h"
#include "libs/event_log/kafka/producer_topics.h"

namespace millrace::event_log::kafka {
namespace {

constexpr int kPollMs = 100;
constexpr int kFlushMs = 10'000;

/// One call of Append. Every record of it that is in flight holds a count, as does Append itself.
struct Span {
  std::atomic<size_t> pending;
  std::atomic<bool> failed = false;
  Status status;  // written by whoever sets `failed`, read when `pending` is 0
  Done done;

  void Fail(Status why) {
    if (!failed.exchange(true)) status = std::move(why);
  }
};

/// The idempotent producer. Delivery reports, and so every Done, come from its poll thread.
class KafkaAppender final : public Appender {
 public:
  static StatusOr<std::unique_ptr<Appender>> Create(Cluster& cluster) {
    std::unique_ptr<KafkaAppender> appender(new KafkaAppender(cluster));
    // 30 s outlast the election of a new leader, and no HTTP client waits longer for its answer.
    MR_ASSIGN_OR_RETURN(appender->producer_,
                        cluster.NewHandle(RD_KAFKA_PRODUCER,
                                          {{"linger.ms", "3"},
                                           {"compression.type", "lz4"},
                                           {"message.timeout.ms", "30000"},
                                           {"queue.buffering.max.messages", "200000"},
                                           {"queue.buffering.max.kbytes", "131072"}},
                                          [&](rd_kafka_conf_t* conf) {
                                            rd_kafka_conf_set_opaque(conf, appender.get());
                                            rd_kafka_conf_set_dr_msg_cb(conf, OnDelivered);
                                          }));
    appender->Start();
    return appender;
  }

  ~KafkaAppender() override {
    thread_.request_stop();
    rd_kafka_queue_yield(main_queue_.get());
    thread_.join();
    if (rd_kafka_flush(producer_.get(), kFlushMs) != RD_KAFKA_RESP_ERR_NO_ERROR) {
      // Reports each of the rest as failed.
      rd_kafka_purge(producer_.get(), RD_KAFKA_PURGE_F_QUEUE | RD_KAFKA_PURGE_F_INFLIGHT);
      rd_kafka_flush(producer_.get(), kFlushMs);
    }
    FinishHandedOver();
    topics_.reset();
    main_queue_.reset();
  }

  void Append(std::span<const TopicRecord> records, Done done) override {
    auto* span = new Span;  // deleted by Finish
    span->pending = records.size() + 1;
    span->done = std::move(done);
    const uint64_t spread = FastRandom();
    std::string_view name;
    ProducerTopics::Topic* topic = nullptr;
    size_t queued = 0;
    for (const TopicRecord& record : records) {
      if (topic == nullptr || record.topic != name) {
        StatusOr<ProducerTopics::Topic*> found = topics_->Find(record.topic);
        if (!found.ok()) {
          span->Fail(found.status());
          break;
        }
        topic = *found;
        name = record.topic;
      }
      const Status status = topics_->Produce(*topic, record.record, spread, span);
      if (!status.ok()) {
        span->Fail(status);
        break;
      }
      ++queued;
    }
    const size_t unqueued = records.size() - queued + 1;
    // The last count is often dropped by the poll thread; here only after a failure, and then it is
    // handed over, as Done must not run inside Append.
    if (span->pending.fetch_sub(unqueued) != unqueued) return;
    {
      const MutexLock lock(mu_);
      handed_over_.push_back(span);
      has_handed_over_ = true;
    }
    rd_kafka_queue_yield(main_queue_.get());
  }

 private:
  explicit KafkaAppender(Cluster& cluster) : cluster_(cluster) {}

  void Start() {
    topics_.emplace(cluster_, producer_.get());
    main_queue_.reset(rd_kafka_queue_get_main(producer_.get()));
    thread_ = std::jthread([this](const std::stop_token& stop) {
      while (!stop.stop_requested()) {
        rd_kafka_poll(producer_.get(), kPollMs);
        if (has_handed_over_) FinishHandedOver();
      }
    });
  }

  static void OnDelivered(rd_kafka_t* /*producer*/, const rd_kafka_message_t* message,
                          void* opaque) {
    auto* span = static_cast<Span*>(message->_private);
    if (message->err != RD_KAFKA_RESP_ERR_NO_ERROR) [[unlikely]] {
      Status status = ToStatus(message->err, rd_kafka_topic_name(message->rkt));
      auto* self = static_cast<KafkaAppender*>(opaque);
      if (status.code() == StatusCode::kNotFound) self->topics_->Forget(message->rkt);
      span->Fail(std::move(status));
    }
    if (span->pending.fetch_sub(1) == 1) Finish(span);
  }

  static void Finish(Span* span) {
    span->done(std::move(span->status));
    delete span;
  }

  void FinishHandedOver() {
    std::vector<Span*> spans;
    {
      const MutexLock lock(mu_);
      spans.swap(handed_over_);
      has_handed_over_ = false;
    }
    for (Span* span : spans) Finish(span);
  }

  Cluster& cluster_;
  Handle producer_;
  std::optional<ProducerTopics> topics_;
  Queue main_queue_;
  Mutex mu_;
  std::vector<Span*> handed_over_ ABSL_GUARDED_BY(mu_);
  std::atomic<bool> has_handed_over_ = false;
  std::jthread thread_;
};

}  // namespace

StatusOr<std::unique_ptr<Appender>> NewKafkaAppender(Cluster& cluster) {
  return KafkaAppender::Create(cluster);
}

}  // namespace millrace::event_log::kafka
