#include "libs/event_log/kafka/transaction.h"

#include <chrono>
#include <optional>

#include "libs/base/backoff.h"
#include "libs/event_log/kafka/consumer.h"
#include "libs/event_log/kafka/producer_topics.h"

namespace millrace::event_log::kafka {
namespace {

using std::chrono::steady_clock;

constexpr int kCallMs = 10'000;
constexpr int kQueueWaitMs = 10;
constexpr std::chrono::seconds kPatience{60};  // the broker aborts a silent transaction after this

/// What a transactional call of librdkafka answered.
struct Outcome {
  Status status;
  bool fatal = false;
  bool requires_abort = false;
};

/// Calls until it succeeds, fails for good or `kPatience` is over.
template <typename Call>
Outcome RunCall(std::string_view what, Call&& call) {
  const auto deadline = steady_clock::now() + kPatience;
  while (true) {
    rd_kafka_error_t* error = call();
    if (error == nullptr) return {};
    Outcome outcome{ToStatus(rd_kafka_error_code(error), what, rd_kafka_error_string(error)),
                    rd_kafka_error_is_fatal(error) != 0,
                    rd_kafka_error_txn_requires_abort(error) != 0};
    const bool retriable = rd_kafka_error_is_retriable(error) != 0;
    rd_kafka_error_destroy(error);
    if (outcome.fatal || outcome.requires_abort || !retriable || steady_clock::now() > deadline) {
      return outcome;
    }
  }
}

class KafkaTransaction final : public Transaction {
 public:
  static StatusOr<std::unique_ptr<Transaction>> Create(Cluster& cluster, const std::string& id) {
    std::unique_ptr<KafkaTransaction> transaction(new KafkaTransaction);
    // No delivery reports: a record that cannot be written makes Commit fail.
    MR_ASSIGN_OR_RETURN(
        transaction->producer_,
        cluster.NewHandle(RD_KAFKA_PRODUCER, {{"transactional.id", cluster.FullName(id)},
                                              {"transaction.timeout.ms", "60000"},
                                              {"message.timeout.ms", "60000"},
                                              {"linger.ms", "2"},
                                              {"compression.type", "lz4"}}));
    transaction->topics_.emplace(cluster, transaction->producer_.get());
    const Outcome outcome = RunCall("transaction " + id, [&] {
      return rd_kafka_init_transactions(transaction->producer_.get(), kCallMs);
    });
    MR_RETURN_IF_ERROR(outcome.status);
    return transaction;
  }

  ~KafkaTransaction() override {
    if (open_ && !dead_) {
      rd_kafka_error_t* error = rd_kafka_abort_transaction(producer_.get(), kCallMs);
      if (error != nullptr) rd_kafka_error_destroy(error);  // the broker's timeout aborts it
    }
    topics_.reset();
  }

  Status Begin() override {
    MR_RETURN_IF_ERROR(CheckAlive());
    const Outcome outcome =
        RunCall("begin", [&] { return rd_kafka_begin_transaction(producer_.get()); });
    if (!outcome.status.ok()) return GiveUp(outcome);
    open_ = true;
    return OkStatus();
  }

  Status Append(std::span<const TopicRecord> records) override {
    MR_RETURN_IF_ERROR(CheckOpen());
    const uint64_t spread = FastRandom();
    for (const TopicRecord& record : records) {
      MR_ASSIGN_OR_RETURN(ProducerTopics::Topic * topic, topics_->Find(record.topic));
      const auto deadline = steady_clock::now() + kPatience;
      Status status = topics_->Produce(*topic, record.record, spread, nullptr);
      while (status.code() == StatusCode::kResourceExhausted && steady_clock::now() < deadline) {
        rd_kafka_poll(producer_.get(), kQueueWaitMs);
        status = topics_->Produce(*topic, record.record, spread, nullptr);
      }
      MR_RETURN_IF_ERROR(status);
    }
    return OkStatus();
  }

  Status AddOffsets(Consumer& consumer, std::span<const CommittedOffset> offsets) override {
    MR_RETURN_IF_ERROR(CheckOpen());
    auto* member = dynamic_cast<KafkaConsumer*>(&consumer);
    MR_CHECK(member != nullptr);
    MR_RETURN_IF_ERROR(member->CheckOwned(offsets));
    if (offsets.empty()) return OkStatus();
    rd_kafka_consumer_group_metadata_t* group = rd_kafka_consumer_group_metadata(member->client());
    const PartitionList list = topics_->cluster().ToList(offsets);
    const Outcome outcome = RunCall("adding offsets", [&] {
      return rd_kafka_send_offsets_to_transaction(producer_.get(), list.get(), group, kCallMs);
    });
    rd_kafka_consumer_group_metadata_destroy(group);
    return outcome.status.ok() ? OkStatus() : GiveUp(outcome);
  }

  Status Commit() override {
    MR_RETURN_IF_ERROR(CheckOpen());
    const Outcome outcome =
        RunCall("commit", [&] { return rd_kafka_commit_transaction(producer_.get(), kCallMs); });
    if (!outcome.status.ok()) return GiveUp(outcome);
    open_ = false;
    return OkStatus();
  }

  Status Abort() override {
    MR_RETURN_IF_ERROR(CheckAlive());
    if (!open_) return OkStatus();
    const Outcome outcome = AbortOpen();
    if (outcome.status.ok()) return OkStatus();
    dead_ = true;
    return outcome.fatal ? Error(StatusCode::kFailedPrecondition, "{}", Message(outcome.status))
                         : outcome.status;
  }

 private:
  KafkaTransaction() = default;

  Status CheckAlive() const {
    if (!dead_) return OkStatus();
    return Error(StatusCode::kFailedPrecondition,
                 "kafka: this transaction is of no more use; make a new one");
  }

  /// An error may have aborted the transaction already; then Commit says so.
  Status CheckOpen() const {
    MR_RETURN_IF_ERROR(CheckAlive());
    return open_ ? OkStatus() : Error(StatusCode::kAborted, "kafka: no transaction is open");
  }

  Outcome AbortOpen() {
    Outcome outcome =
        RunCall("abort", [&] { return rd_kafka_abort_transaction(producer_.get(), kCallMs); });
    if (outcome.status.ok()) open_ = false;
    return outcome;
  }

  /// Ends the transaction after a failed call and says what the caller does next.
  Status GiveUp(const Outcome& outcome) {
    if (outcome.fatal) {
      dead_ = true;
      return Error(StatusCode::kFailedPrecondition, "{}", Message(outcome.status));
    }
    if (!outcome.requires_abort) {
      // Its fate is unknown. Records and offsets share it, so reading on from the committed offsets
      // is right either way, but only a new producer can go on.
      dead_ = true;
      return Error(StatusCode::kUnavailable, "{}", Message(outcome.status));
    }
    const Outcome abort = AbortOpen();
    if (!abort.status.ok()) {
      dead_ = true;
      if (abort.fatal) return Error(StatusCode::kFailedPrecondition, "{}", Message(abort.status));
    }
    if (outcome.status.code() == StatusCode::kFailedPrecondition) return outcome.status;
    return Error(StatusCode::kAborted, "{}", Message(outcome.status));
  }

  Handle producer_;
  std::optional<ProducerTopics> topics_;
  bool open_ = false;
  bool dead_ = false;  // fenced, or of unknown fate
};

}  // namespace

StatusOr<std::unique_ptr<Transaction>> NewKafkaTransaction(Cluster& cluster,
                                                           const std::string& id) {
  return KafkaTransaction::Create(cluster, id);
}

}  // namespace millrace::event_log::kafka
