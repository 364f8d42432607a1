#include "train/task_source.h"

#include <algorithm>

#include "base/hash.h"
#include "base/rng.h"
#include "tasks/filler.h"
#include "tasks/task.h"

namespace nosa::train {
namespace {

constexpr uint64_t kPartsDraw = uint64_t{1} << 32;  // no example has that number

class TaskSource final : public SequenceSource {
 public:
  TaskSource(std::shared_ptr<const TokenText> text, const TaskOptions& options, std::unique_ptr<tasks::Task> task,
             tasks::Filler learnt, std::optional<tasks::Filler> held_out)
      : text_(std::move(text)),
        options_(options),
        task_(std::move(task)),
        learnt_(std::move(learnt)),
        held_out_(std::move(held_out)) {}

  std::string_view name() const override { return options_.name; }

  uint64_t fingerprint() const override {
    StreamHash hash;
    const auto add = [&hash](const auto& value) { hash.Update(AsBytes(std::span(&value, 1))); };
    hash.Update(AsBytes(std::span(options_.name.data(), options_.name.size())));
    add(options_.seed);
    add(options_.questions);
    add(options_.parts);
    add(options_.weights);
    add(text_->fingerprint);
    add(text_->learn);
    return hash.Digest();
  }

  Status Check(int length) const override {
    const Result<tasks::Example> example = Make(learnt_, length + 1, 0, 0);
    return example.ok() ? Status::Ok() : example.status().WithContext("the task " + options_.name);
  }

  Status Fill(uint64_t number, const Row& row) const override { return FillFrom(learnt_, number, row); }
  Status FillHeldOut(uint64_t number, const Row& row) const override {
    const bool enough = held_out_ && held_out_->tokens() > static_cast<int64_t>(row.ids.size());
    return FillFrom(enough ? *held_out_ : learnt_, number | uint64_t{1} << 63, row);
  }

 private:
  // Example `part` of that sequence, of exactly `tokens` tokens.
  Result<tasks::Example> Make(const tasks::Filler& filler, int tokens, uint64_t number, uint64_t part) const {
    const auto words = Philox(options_.seed, number).Block(part);
    tasks::ExampleOptions example;
    example.tokens = tokens;
    example.seed = uint64_t{words[0]} << 32 | words[1];
    // As many questions as the sequence has room for, halving: half of a document may be planted.
    for (example.questions = std::min(options_.questions, task_->max_questions());; example.questions /= 2) {
      Result<tasks::Example> made = task_->Make(filler, example);
      if (made.ok() || example.questions <= 1) return made;
    }
  }

  Status FillFrom(const tasks::Filler& filler, uint64_t number, const Row& row) const {
    // The whole, halves, quarters and so on, equally often, as far as the task can be as short.
    int levels = 1;
    while ((1 << levels) <= options_.parts) ++levels;
    const uint32_t drawn = Philox(options_.seed, number).Block(kPartsDraw)[0];
    Status filled;
    for (int parts = 1 << (drawn % static_cast<uint32_t>(levels)); parts > 0; parts /= 2) {
      filled = FillParts(filler, number, parts, row);
      if (filled.ok()) break;
    }
    return filled;
  }

  Status FillParts(const tasks::Filler& filler, uint64_t number, int parts, const Row& row) const {
    const auto tokens = static_cast<int>(row.ids.size()) + 1;  // the last one is a target only
    size_t at = 0;
    for (int part = 0; part < parts; ++part) {
      const int end = static_cast<int>(int64_t{tokens} * (part + 1) / parts);
      NOSA_ASSIGN_OR_RETURN(const tasks::Example example,
                            Make(filler, end - static_cast<int>(at), number, static_cast<uint64_t>(part)));
      const tasks::TrainingRow made = tasks::LayOut(example, options_.weights);
      NOSA_CHECK(at + made.ids.size() == static_cast<size_t>(end), "an example of {} tokens from {} to {}",
                 made.ids.size(), at, end);
      for (size_t i = 0; i < made.ids.size(); ++i, ++at) {
        if (at < row.ids.size()) row.ids[at] = made.ids[i];
        if (at == 0) continue;
        row.targets[at - 1] = made.ids[i];
        // An example's first token follows the one before.
        row.weights[at - 1] = i > 0 ? made.weight[i - 1] : options_.weights.document;
        row.answers[at - 1] = i > 0 ? made.answer[i - 1] : uint8_t{0};
      }
    }
    return Status::Ok();
  }

  std::shared_ptr<const TokenText> text_;
  TaskOptions options_;
  std::unique_ptr<tasks::Task> task_;
  tasks::Filler learnt_;
  std::optional<tasks::Filler> held_out_;
};

}  // namespace

Result<std::unique_ptr<const SequenceSource>> MakeTaskSource(std::shared_ptr<const text::Tokenizer> tokenizer,
                                                             std::shared_ptr<const TokenText> text,
                                                             const TaskOptions& options) {
  NOSA_ASSIGN_OR_RETURN(std::unique_ptr<tasks::Task> task, tasks::MakeTask(options.name));
  NOSA_ASSIGN_OR_RETURN(tasks::Filler learnt, tasks::Filler::Make(tokenizer, text->learnt()));
  std::optional<tasks::Filler> held_out;
  if (!text->held_out().empty()) {
    Result<tasks::Filler> made = tasks::Filler::Make(tokenizer, text->held_out());
    if (made.ok()) held_out = std::move(made).value();
  }
  return std::unique_ptr<const SequenceSource>(
      std::make_unique<TaskSource>(std::move(text), options, std::move(task), std::move(learnt), std::move(held_out)));
}

}  // namespace nosa::train
